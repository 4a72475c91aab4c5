"""Files of executions: sent in chunks, completed, listed, downloaded, removed."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from kodosumi_prefect.files.incoming import IncomingContent
from kodosumi_prefect.files.names import LONGEST_PATH, Direction
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.recording import journal, record
from kodosumi_prefect.panel.executions.actions import wait_for_execution
from kodosumi_prefect.panel.executions.api import Json
from kodosumi_prefect.panel.files import downloads
from kodosumi_prefect.panel.files.actions import (
    SIGNED,
    Announced,
    FileDesk,
    Item,
    find,
    listed,
    signed,
)
from kodosumi_prefect.panel.files.chunk_form import FORM, read_chunk
from kodosumi_prefect.panel.files.ranges import UnsatisfiableError
from kodosumi_prefect.panel.files.readers import FileReader
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import Execution, Panel
from kodosumi_prefect.refusals import InvalidError
from kodosumi_prefect.stream.reader import ALL

MOST = 2**31 - 1
LARGEST = 2**63 - 1
BATCH = "The batch, from `POST /files/init_batch`; none makes one for this file."

router = APIRouter(prefix="/files", tags=["Files"])

MaybeId = Annotated[UUID | None, BeforeValidator(lambda value: None if value == "" else value)]


class Batch(BaseModel):
    """A batch that files are sent in."""

    batch_id: UUID


class NewFile(BaseModel):
    """A file that is about to be sent."""

    filename: str = Field(max_length=LONGEST_PATH, description="Its name, or its path with `/`.")
    total_chunks: int = Field(ge=-MOST, le=MOST, description="0 if it is empty.")
    batch_id: MaybeId = Field(None, description=BATCH)
    size: int | None = Field(
        None, ge=0, le=LARGEST, description="Bytes; limits are checked at once then."
    )
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="What it has to have when it is whole."
    )
    presigned: bool = Field(
        False, description="Send it straight to the storage, by PUT to the `url` of the answer."
    )


class Begun(BaseModel):
    """Where the file is sent."""

    upload_id: UUID
    batch_id: UUID | None
    url: str | None = Field(None, description="Only for `presigned`; for one hour.")


class ChunkReceived(BaseModel):
    """A chunk that is stored."""

    status: str
    chunk_number: int
    received_chunks: int = Field(description="How many different ones are there.")


class ToComplete(BaseModel):
    """A file of a batch."""

    filename: str = Field(max_length=LONGEST_PATH, description="The name that it gets.")
    total_chunks: int = Field(
        ge=-MOST, le=MOST, validation_alias=AliasChoices("totalChunks", "total_chunks")
    )


class OneToComplete(BaseModel):
    """A file that was sent."""

    upload_id: UUID
    filename: str = Field(max_length=LONGEST_PATH, description="The name that it gets.")
    total_chunks: int = Field(ge=-MOST, le=MOST)
    batch_id: MaybeId = None
    fid: MaybeId = Field(None, description="The execution that gets it.")


class Completed(BaseModel):
    """A file that is whole."""

    status: str
    completion_id: UUID = Field(description="The execution; of a file without one its batch.")
    batch_id: str
    final_file: str
    final_path: str


class UploadState(BaseModel):
    """A file that is being sent."""

    upload_id: UUID
    batch_id: UUID
    filename: str
    total_chunks: int
    chunks: list[int] = Field(description="Numbers of those that are there.")
    received_bytes: int
    size: int | None = Field(description="Bytes; null until it is whole.")
    sha256: str | None
    refused: str | None = Field(description="Why it is not taken.")


class FileListed(BaseModel):
    """A file of an execution; what is behind `last_modified` with `details` only."""

    path: str
    size: int
    last_modified: float
    sha256: str | None = None
    media_type: str | None = None
    attempt: int | None = None
    task_run: str | None = None
    node: str | None = None


DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file; with `presigned` where it can be had.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"type": "object"}},
        },
    },
    206: {
        "description": "The part that `Range` names.",
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    },
    304: {"description": "It is as `If-None-Match` says."},
    **problems(416),
}
COMPLETED: dict[int | str, dict[str, Any]] = {
    201: {"model": list[Completed], "description": "Each file, in the order of the request."}
}
LISTING: dict[int | str, dict[str, Any]] = {
    200: {"model": list[FileListed], "description": "The files, by path."}
}


@router.post(
    "/init_batch",
    status_code=201,
    summary="Begin to send files together",
    responses=answers(Batch, 201),
)
async def init_batch(panel: Panel, user: CurrentUser) -> dict[str, str]:
    """A batch is one account's, and becomes one execution's files."""
    return {"batch_id": await FileDesk(panel, user).begin_batch()}


@router.post(
    "/init",
    status_code=201,
    summary="Announce a file",
    responses=answers(Begun, 201) | problems(404, 409, 413),
)
async def init(panel: Panel, user: CurrentUser, file: NewFile) -> dict[str, Any]:
    """Its chunks are sent to `POST /files/chunk` then. 413 if it would be too large."""
    batch = None if file.batch_id is None else str(file.batch_id)
    announced = Announced(file.filename, file.total_chunks, file.size, file.sha256)
    begun = await FileDesk(panel, user).begin(announced, batch, by_url=file.presigned)
    answer = {"upload_id": begun.upload, "batch_id": batch}
    return answer if begun.url is None else answer | {"url": begun.url}


@router.post(
    "/chunk",
    status_code=201,
    summary="Send a part of a file",
    responses=answers(ChunkReceived, 201) | problems(400, 404, 408, 409, 413, 422),
    openapi_extra=FORM,
)
async def chunk(request: Request, panel: Panel, user: CurrentUser) -> dict[str, Any]:
    """In any order, several at once, and again: what is there stays. 409 for other content."""
    depot = panel.files
    content = IncomingContent(await depot.storage())
    try:
        fields = await read_chunk(request, content, depot)
        number = fields.chunk_number
        received = await FileDesk(panel, user).add_chunk(str(fields.upload_id), number, content)
    finally:
        await depot.run(content.close)
    return {"status": "chunk received", "chunk_number": number, "received_chunks": received}


@router.get(
    "/upload/{upload_id}",
    summary="How far a file has come",
    responses=answers(UploadState) | problems(404),
)
async def upload(panel: Panel, user: CurrentUser, upload_id: UUID) -> dict[str, Any]:
    """What is missing of `chunks` has to be sent, such as after a lost network."""
    desk = FileDesk(panel, user)
    row = await desk.upload(str(upload_id))
    return {
        "upload_id": row.id,
        "batch_id": row.batch,
        "filename": row.path,
        "total_chunks": row.chunks,
        "chunks": [each.number for each in await desk.chunks(row.id)],
        "received_bytes": row.received_bytes,
        "size": row.size,
        "sha256": row.sha256,
        "refused": row.refused,
    }


@router.delete(
    "/cancel/{upload_id}",
    status_code=204,
    response_class=Response,
    summary="Do not send a file after all",
    responses=problems(404, 409),
)
async def cancel(panel: Panel, user: CurrentUser, upload_id: UUID) -> None:
    """What came of it is deleted."""
    await FileDesk(panel, user).cancel(str(upload_id))


@router.post(
    "/complete/{fid}/{batch_id}/{direction}",
    status_code=201,
    summary="Give files of a batch to an execution",
    responses=COMPLETED | problems(403, 404, 409, 413),
)
async def complete_batch(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    execution: Execution,
    batch_id: UUID,
    direction: Direction,
    items: Annotated[
        dict[UUID, ToComplete],
        Body(description="By `upload_id`: `{filename, totalChunks}`."),
    ],
) -> list[dict[str, Any]]:
    """All of them, or none; done again, it answers the same. 409 while a chunk is missing."""
    chosen = {str(id_): Item(item.filename, item.total_chunks) for id_, item in items.items()}
    entry = record(
        request,
        Action.FILE_ADD,
        Target("execution", execution.fid),
        direction=str(direction),
        files=len(chosen),
    )
    batch, desk = str(batch_id), FileDesk(panel, user)
    bound = await desk.complete(execution, batch, direction, chosen)
    entry.details["bytes"] = sum(file.size for file in bound)
    return [_completed(execution.fid, batch, file.path.partition("/")[2]) for file in bound]


@router.post(
    "/complete/{direction}",
    status_code=201,
    summary="Have a file be whole",
    responses=answers(Completed, 201) | problems(403, 404, 409, 413),
)
async def complete_one(
    request: Request, panel: Panel, user: CurrentUser, direction: Direction, file: OneToComplete
) -> dict[str, Any]:
    """With `fid` it is given to that execution; without, it waits for a launch."""
    desk = FileDesk(panel, user)
    id_, given = str(file.upload_id), "" if file.batch_id is None else str(file.batch_id)
    item = Item(file.filename, file.total_chunks)
    if file.fid is None:
        row = await desk.settle(id_, item)
        return _completed(row.batch, given, row.path)
    entry = record(
        request,
        Action.FILE_ADD,
        Target("execution", str(file.fid)),
        direction=str(direction),
        files=1,
    )
    execution = await wait_for_execution(panel, file.fid, user.sees(panel.settings))
    # A file without a batch has one of its own, of the same id.
    batch = given or await desk.batch_of(id_)
    [bound] = await desk.complete(execution, batch, direction, {id_: item})
    entry.details["bytes"] = bound.size
    return _completed(execution.fid, given, bound.path.partition("/")[2])


@router.get(
    "/{fid}/{direction}",
    response_class=Json,
    summary="Files of an execution",
    responses=LISTING | problems(403, 404),
)
async def files(
    panel: Panel,
    reader: FileReader,
    direction: Direction,
    details: Annotated[bool, Query(description="Also hash, media type and where from.")] = False,
    limit: Annotated[
        int, Query(ge=1, le=ALL, description="At most so many; all by default.")
    ] = ALL,
    after: Annotated[
        str | None,
        Query(max_length=LONGEST_PATH, description="The last path of the page before."),
    ] = None,
) -> Response:
    """By path, those of folders too."""
    behind = None if after is None else after.removeprefix(f"{direction}/")
    rows = await listed(panel, reader.fid, direction, after=behind, limit=limit)
    return Json([row.kodosumi | (_details(asdict(row)) if details else {}) for row in rows])


@router.get(
    "/{fid}/{direction}/{path:path}",
    response_class=Response,
    summary="Download a file",
    responses=DOWNLOAD | problems(403, 404),
)
async def download(
    request: Request,
    panel: Panel,
    reader: FileReader,
    direction: Direction,
    path: str,
    presigned: Annotated[
        bool,
        Query(description="Answer `{url, seconds}` of the storage itself, if it is a bucket."),
    ] = False,
) -> Response:
    """As a file to be saved, whatever it is. One `Range`, `If-Range` and `If-None-Match` count."""
    path = "/".join(part for part in path.split("/") if part)
    if not path:
        journal(request).has_nothing()
        return await files(panel, reader, direction)
    head = request.method == "HEAD"
    if not (head or reader.is_run):
        name = f"{direction}/{path}"
        record(request, Action.FILE_DOWNLOAD, Target("file", name, name), fid=reader.fid)
    file = await find(panel, reader.fid, direction, path)
    storage = await panel.files.storage()
    if presigned:
        url = await panel.files.run(signed, storage, "GET", file.key)
        return JSONResponse({"url": url, "seconds": SIGNED, "sha256": file.sha256})
    headers = request.headers
    try:
        return await downloads.answer(
            storage,
            file,
            range_=headers.get("range"),
            if_range=headers.get("if-range"),
            if_none_match=headers.get("if-none-match"),
            head=head,
        )
    except UnsatisfiableError:
        detail = f"the file has {file.size:,} bytes; the range begins behind them"
        raise HTTPException(416, detail, {"Content-Range": f"bytes */{file.size}"}) from None


router.add_api_route(
    "/{fid}/{direction}/{path:path}",
    download,
    methods=["HEAD"],
    include_in_schema=False,
)


@router.delete(
    "/{fid}/{direction}/{path:path}",
    status_code=204,
    response_class=Response,
    summary="Remove a file or a folder",
    responses=problems(403, 404),
)
async def remove(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    execution: Execution,
    direction: Direction,
    path: str,
) -> None:
    """A folder with all that is in it."""
    path = "/".join(part for part in path.split("/") if part)
    name = f"{direction}/{path}".rstrip("/")
    entry = record(request, Action.FILE_DELETE, Target("file", name, name), fid=execution.fid)
    if "\x00" in path:
        raise InvalidError("a path has no NUL character in it")
    entry.details["files"] = await FileDesk(panel, user).remove(execution, direction, path)


@router.delete(
    "/{fid}/{direction}",
    status_code=204,
    response_class=Response,
    summary="Remove all files of `in` or `out`",
    responses=problems(403, 404),
)
async def remove_all(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    execution: Execution,
    direction: Direction,
) -> None:
    """404 if there is none."""
    await remove(request, panel, user, execution, direction, "")


def _completed(completion: str, batch: str, path: str) -> dict[str, Any]:
    return {
        "status": "upload complete",
        "completion_id": completion,
        "batch_id": batch,
        "final_file": path,
        "final_path": f"{completion}/{path}",
    }


def _details(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("sha256", "media_type", "attempt", "task_run", "node")}
