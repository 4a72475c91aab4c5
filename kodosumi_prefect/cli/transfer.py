"""Files between this machine and the panel, in pieces, with what of them has gone."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from kodosumi_prefect.cli.output import CommandError, errors
from kodosumi_prefect.cli.panel_client import NotThereError, Panel
from kodosumi_prefect.files.names import FileNameError, checked_path, split

CHUNK = 4 * 1024**2
PIECE = 1024**2
AT_ONCE = 3  # chunks in flight
PARTIAL = ".partial"  # suffix of a download until it is whole

Advance = Callable[[int], None]


class LocalFile(NamedTuple):
    """A file to be sent, and the path that it gets."""

    path: str
    source: Path


@contextmanager
def bar(words: str, total: int) -> Iterator[Advance]:
    """A bar on stderr, if that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TransferSpeedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    ) as progress:
        task = progress.add_task(words, total=total)
        yield lambda size: progress.advance(task, size)


def local_files(source: Path, into: str) -> list[LocalFile]:
    """A file, or all files of a folder, with the paths that they get.

    Arguments:
        into: the path of the file; of a folder, what its files are below. A folder that ends with
            a slash is one to put it into.

    Raises:
        CommandError: there is nothing, or something whose name no file of a run can have.
    """
    name = source.resolve().name
    if not into or into.endswith("/"):
        into = f"{into}{name}"
    if source.is_file():
        files = [LocalFile(into, source)]
    elif source.is_dir():
        # Links lead elsewhere, and devices have no end.
        inside = [p for p in sorted(source.rglob("*")) if p.is_file() and not _linked(p, source)]
        files = [LocalFile(f"{into}/{p.relative_to(source).as_posix()}", p) for p in inside]
    else:
        raise CommandError(f"there is no file {source}")
    if not files:
        raise CommandError(f"{source} has no files")
    try:
        return [LocalFile(checked_path(file.path), file.source) for file in files]
    except FileNameError as exc:
        raise CommandError(str(exc)) from exc


def _linked(path: Path, root: Path) -> bool:
    return any(
        p.is_symlink() for p in (path, *path.parents) if p.is_relative_to(root) and p != root
    )


def give(panel: Panel, fid: str, direction: str, files: list[LocalFile]) -> None:
    """Have an execution have files in ``in`` or ``out``; an earlier try that broke off goes on."""
    resumed = Resumed(panel.settings.data_dir, fid, direction, files)
    if resumed.begun and _is_gone(panel, resumed.begun):
        resumed.forget()
    if not resumed.batch:
        resumed.begin(str(panel.ask("POST", "/files/init_batch")["batch_id"]))
    items = send(panel, files, resumed.batch, resumed.begun, resumed.note)
    panel.ask("POST", f"/files/complete/{fid}/{resumed.batch}/{direction}", json=items)
    resumed.forget()


def send(
    panel: Panel,
    files: list[LocalFile],
    batch: str,
    begun: Mapping[str, str] | None = None,
    note: Callable[[str, str], object] = lambda path, upload: None,
) -> dict[str, dict[str, Any]]:
    """Send files into a batch; the items to complete it with.

    Arguments:
        begun: uploads of an earlier try by their paths, whose chunks are not sent again.
        note: told the path and the upload of each file that is begun now.
    """
    known = begun or {}
    items: dict[str, dict[str, Any]] = {}
    with bar("sending", sum(file.source.stat().st_size for file in files)) as advance:
        for file in files:
            size = file.source.stat().st_size
            chunks = -(-size // CHUNK)
            body = {"filename": file.path, "total_chunks": chunks, "batch_id": batch, "size": size}
            id_ = known.get(file.path)
            state = None if id_ is None else _state(panel, id_)
            there: set[int] = set()
            if id_ is None or state is None:
                id_ = str(panel.ask("POST", "/files/init", json=body)["upload_id"])
                note(file.path, id_)
            else:
                there = set(range(chunks)) if state["size"] is not None else set(state["chunks"])
            items[id_] = {"filename": file.path, "totalChunks": chunks}
            _send_chunks(panel, file.source, id_, chunks, there, advance)
    return items


def _send_chunks(
    panel: Panel, source: Path, upload: str, chunks: int, there: set[int], advance: Advance
) -> None:
    def one(number: int) -> None:
        with source.open("rb") as content:
            content.seek(number * CHUNK)
            piece = content.read(CHUNK)
        if number not in there:
            panel.ask(
                "POST",
                "/files/chunk",
                data={"upload_id": upload, "chunk_number": str(number)},
                files={"chunk": ("chunk", piece, "application/octet-stream")},
            )
        advance(len(piece))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(one, range(chunks)))


def fetch(panel: Panel, fid: str, file: dict[str, Any], target: Path, advance: Advance) -> None:
    """Download a file, from where an earlier try broke off; its hash is checked.

    Raises:
        CommandError: it did not come as it was stored.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{file['sha256'][:8]}{PARTIAL}")
    there = partial.stat().st_size if partial.exists() else 0
    if 0 < there == file["size"]:
        advance(there)
    else:
        _fetch_rest(panel, f"/files/{fid}/{quote(file['path'])}", file, partial, there, advance)
    with partial.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != file["sha256"]:
        partial.unlink()
        raise CommandError(f"{file['path']} did not come as it was stored; get it again")
    partial.replace(target)


def _fetch_rest(
    panel: Panel, address: str, file: dict[str, Any], partial: Path, there: int, advance: Advance
) -> None:
    """Fetch what is missing; all of it if it is another content by now."""
    headers = {}
    if 0 < there < file["size"]:
        headers = {"Range": f"bytes={there}-", "If-Range": f'"{file["sha256"]}"'}
    with panel.stream("GET", address, headers) as answer:
        goes_on = answer.status_code == 206
        if goes_on:
            advance(there)
        with partial.open("ab" if goes_on else "wb") as content:
            for piece in answer.iter_bytes(PIECE):
                content.write(piece)
                advance(len(piece))


def target_of(path: str, folder: str, into: Path) -> Path:
    """Where a file of a folder is saved; never outside of ``into``, whatever its name is.

    Raises:
        CommandError: this machine cannot hold a file of this name.
    """
    try:
        direction, rest = split(path)
    except FileNameError as exc:
        raise CommandError(str(exc)) from exc
    inside = f"{direction}/{rest}".removeprefix(f"{folder}/") if folder else f"{direction}/{rest}"
    return into.joinpath(*inside.split("/"))


class Resumed:
    """What was begun to be sent and did not end, so that the next try goes on.

    It is noted line by line, as it happens: whoever sends may be killed.

    Arguments:
        folder: of the stack, where it is kept.
        files: that are sent; if one of them changed meanwhile, it is another upload.
    """

    def __init__(self, folder: Path, fid: str, direction: str, files: list[LocalFile]) -> None:
        facts = [(f.path, f.source.stat().st_size, f.source.stat().st_mtime_ns) for f in files]
        name = hashlib.sha256(json.dumps([fid, direction, facts]).encode()).hexdigest()[:32]
        self._path = folder / "sending" / f"{name}.jsonl"
        self.batch = ""
        self.begun: dict[str, str] = {}
        try:
            first, *lines = map(json.loads, self._path.read_text("utf-8").splitlines())
            self.batch, self.begun = str(UUID(first)), {str(p): str(UUID(u)) for p, u in lines}
        except (OSError, ValueError, TypeError, AttributeError):
            self.forget()  # there is none, or it broke off

    def begin(self, batch: str) -> None:
        """Note where the files are sent."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.batch = batch
        self._path.write_text(json.dumps(batch) + "\n", "utf-8")

    def note(self, path: str, upload: str) -> None:
        """Note that a file was begun."""
        self.begun[path] = upload
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([path, upload]) + "\n")

    def forget(self) -> None:
        """It is done, or cannot go on."""
        self._path.unlink(missing_ok=True)
        self.batch, self.begun = "", {}


def _is_gone(panel: Panel, begun: Mapping[str, str]) -> bool:
    """Whether what was sent earlier is no longer there; it goes as a whole."""
    return any(_state(panel, upload) is None for upload in [*begun.values()][:1])


def _state(panel: Panel, upload: str) -> dict[str, Any] | None:
    """How far a file came; None if the panel has none of it."""
    try:
        state: dict[str, Any] = panel.ask("GET", f"/files/upload/{upload}")
    except NotThereError:
        return None
    return state
