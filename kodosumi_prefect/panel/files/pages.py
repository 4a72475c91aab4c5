"""Files of an execution for people: a list, previews, and several of them as one zip."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response
from markupsafe import Markup

from kodosumi_prefect.database.rows.files import ListedFile
from kodosumi_prefect.files.names import LONGEST_PATH, Direction, FileNameError, split_folder
from kodosumi_prefect.files.storage import StorageError
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.executions.rows import title
from kodosumi_prefect.panel.files.actions import find, listed
from kodosumi_prefect.panel.files.archive import MOST, zipped
from kodosumi_prefect.panel.files.depot import refusal
from kodosumi_prefect.panel.files.downloads import POLICY, ContentResponse, disposition
from kodosumi_prefect.panel.files.preview import PICTURE, READ, picture_type, previewed
from kodosumi_prefect.panel.html.words import size_words
from kodosumi_prefect.panel.web.parameters import Execution, Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.refusals import InvalidError, NotFoundError, OversizedError
from kodosumi_prefect.stream.rows import StoredExecution

PER_PAGE = 500
CHOSEN = 1000  # paths that one request may name
WORDS = {Direction.IN: "Given to it", Direction.OUT: "Made by it"}
# What a preview is made of is escaped or sanitised. Should anything get through, it still cannot
# run: no script does in such a page, not even ours.
POLICY_OF_PREVIEW = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "sandbox allow-same-origin allow-downloads allow-top-navigation-by-user-activation"
)

router = APIRouter(include_in_schema=False)

Path_ = Annotated[str, Query(max_length=LONGEST_PATH * 4)]


class _Section(NamedTuple):
    """The files of one direction that a page shows."""

    direction: Direction
    words: str
    files: list[ListedFile]


@router.get("/executions/{fid}/files")
async def files(
    request: Request, panel: Panel, execution: Execution, after: Path_ = "", fragment: bool = False
) -> Response:
    """The list: a part for htmx or if ``fragment``, else a page of its own.

    Arguments:
        after: the last path of the page before.
    """
    whole = "hx-request" not in request.headers and not fragment
    rows = await _page_of(panel, execution.fid, after)
    shown = rows[:PER_PAGE]
    context = {
        "row": execution,
        "title": title(execution),
        "sections": [
            _Section(direction, words, [f for f in shown if f.path.startswith(f"{direction}/")])
            for direction, words in WORDS.items()
        ],
        "after": after,
        "more": urlencode({"after": shown[-1].path}) if len(rows) > PER_PAGE else None,
        "address": quote,
    }
    return page(request, "files.html" if whole else "_files.html", context)


@router.get("/executions/{fid}/files.zip")
async def archive(
    request: Request,
    panel: Panel,
    execution: Execution,
    path: Annotated[list[str] | None, Query(max_length=CHOSEN)] = None,
) -> Response:
    """Those of these paths as a zip, folders with all that is in them; all without a path."""
    return await _zip(request, panel, execution, path or [])


@router.post("/executions/{fid}/files.zip")
async def chosen_archive(
    request: Request,
    panel: Panel,
    execution: Execution,
    path: Annotated[list[str] | None, Form(max_length=CHOSEN)] = None,
) -> Response:
    """As by GET, for more names than an address has room for; none are none."""
    if not path:
        record(request, Action.FILE_DOWNLOAD, Target("execution", execution.fid))
        raise InvalidError("choose files first")
    return await _zip(request, panel, execution, path)


@router.get("/executions/{fid}/files/{direction}/{path:path}")
async def preview(
    request: Request,
    panel: Panel,
    execution: Execution,
    direction: Direction,
    path: str,
    picture: bool = False,
) -> Response:
    """The beginning of a file as a page; ``picture``: a picture as it is, for that page."""
    name = f"{direction}/{path}"
    # A page with a picture gets that from here as well.
    record(request, Action.FILE_DOWNLOAD, Target("file", name, name), fid=execution.fid, shown=True)
    file = await find(panel, execution.fid, direction, path)
    start = await _start(panel, file, READ)
    if picture:
        return await _picture(panel, file, start)
    shown = previewed(file, start)
    context = {
        "row": execution,
        "title": title(execution),
        "file": file,
        "name": file.path.rpartition("/")[2],
        "address": quote(file.path),
        "preview": shown,
        "html": Markup(shown.html),
    }
    answer = page(request, "file.html", context)
    answer.headers["Content-Security-Policy"] = POLICY_OF_PREVIEW
    return answer


async def _page_of(panel: State, fid: str, after: str) -> list[ListedFile]:
    """A page's files, those in ``in`` first, and one more if there is a further page."""
    direction, _, path = after.partition("/")
    rows: list[ListedFile] = []
    if direction != Direction.OUT:
        behind = path if direction == Direction.IN else None
        rows = await listed(panel, fid, Direction.IN, after=behind, limit=PER_PAGE + 1)
    if len(rows) <= PER_PAGE:
        behind = path if direction == Direction.OUT else None
        room = PER_PAGE + 1 - len(rows)
        rows += await listed(panel, fid, Direction.OUT, after=behind, limit=room)
    return rows


async def _zip(
    request: Request, panel: State, execution: StoredExecution, paths: Sequence[str]
) -> Response:
    entry = record(request, Action.FILE_DOWNLOAD, Target("execution", execution.fid), zip=True)
    files = await _chosen(panel, execution.fid, paths)
    entry.details |= {"files": len(files), "bytes": sum(file.size for file in files)}
    if paths:
        entry.details["paths"] = list(paths[:20])
    storage = await panel.files.storage()
    pieces = zipped(storage, files)
    try:
        first = await anext(pieces)
    except StorageError as exc:
        raise refusal(exc) from exc
    headers = {
        "Content-Disposition": disposition(f"{execution.fid}.zip"),
        "Content-Security-Policy": POLICY,
        "Cache-Control": "private, no-store",
    }
    return ContentResponse(_from(first, pieces), 200, headers, media_type="application/zip")


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _chosen(panel: State, fid: str, paths: Sequence[str]) -> list[ListedFile]:
    """The files of these paths, each once, by path; all without one.

    Raises:
        InvalidError: a path is none.
        NotFoundError: there is nothing of one of them.
        OversizedError: they are more than one zip holds.
    """
    found: dict[str, ListedFile] = {}
    for path in paths or list(Direction):
        try:
            direction, folder = split_folder(path)
        except FileNameError as exc:
            raise InvalidError(str(exc)) from exc
        rows = await listed(panel, fid, direction, folder, limit=MOST + 1)
        if paths and not rows:
            raise NotFoundError(f"execution {fid} has no {path}")
        found |= {row.path: row for row in rows}
        if len(found) > MOST:
            raise OversizedError(
                f"more than {MOST:,} files are more than one zip holds; name folders one by one: "
                "?path=out/folder"
            )
    if not found:
        raise NotFoundError(f"execution {fid} has no files")
    return [found[path] for path in sorted(found)]


async def _start(panel: State, file: ListedFile, size: int) -> bytes:
    """The first bytes of a file."""
    storage = await panel.files.storage()
    start = bytearray()
    try:
        async for piece in storage.stream(file.key, 0, min(size, file.size)):
            start += piece
    except FileNotFoundError as exc:
        raise NotFoundError(f"the content of {file.path!r} is no longer there") from exc
    except StorageError as exc:
        raise refusal(exc) from exc
    return bytes(start)


async def _picture(panel: State, file: ListedFile, start: bytes) -> Response:
    kind = picture_type(start)
    if kind is None:
        raise InvalidError(f"{file.path!r} is no picture that a browser draws")
    if file.size > PICTURE:
        raise OversizedError(f"{file.path!r} has {size_words(file.size)}; download it")
    storage = await panel.files.storage()
    headers = {
        "Content-Security-Policy": POLICY,
        "Content-Length": str(file.size),
        "Cache-Control": "private, no-store",
    }
    return ContentResponse(storage.stream(file.key, 0, file.size), 200, headers, media_type=kind)
