"""Files for processes of runs that reach neither storage nor database, by the token of the run."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from kodosumi_prefect.database.rows.files import FileTotals, ListedFile
from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.limits import FileLimitError, check_execution, check_owner, check_size
from kodosumi_prefect.files.names import LONGEST_PATH, Direction
from kodosumi_prefect.files.storage import StorageError
from kodosumi_prefect.files.write_ahead import write_stream
from kodosumi_prefect.panel.files.actions import listed
from kodosumi_prefect.panel.files.depot import refusal
from kodosumi_prefect.panel.files.readers import RunId
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.settings import Settings

MOST = 1000  # files of one answer

router = APIRouter(prefix="/run-files/{fid}", tags=["Files"])

Path = Annotated[str, Query(max_length=2 * LONGEST_PATH, pattern=r"^[^\x00]*$")]


class RunFiles(BaseModel):
    """Files with where their contents are."""

    files: list[dict[str, Any]]


class RunFile(BaseModel):
    """A file with where its content is; null if there is none."""

    file: dict[str, Any] | None


class Totals(BaseModel):
    """How many files, and their bytes."""

    files: int
    bytes: int


class Content(BaseModel):
    """Content that belongs to no file yet."""

    key: str
    size: int
    sha256: str = Field(description="In hexadecimal.")


class Bound(BaseModel):
    """Files that the execution was launched with."""

    files: list[dict[str, Any]]


@router.get(
    "/listed", summary="A run's own files", responses=answers(RunFiles) | problems(401, 403)
)
async def listing(
    panel: Panel,
    fid: RunId,
    direction: Direction,
    folder: Path = "",
    after: Path | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
) -> dict[str, Any]:
    """Of a folder and those below it, by path."""
    rows = await listed(panel, fid, direction, folder, after=after, limit=limit)
    return {"files": [asdict(row) for row in rows]}


@router.get("/at", summary="One of a run's own files", responses=answers(RunFile) | problems(403))
async def at(panel: Panel, fid: RunId, direction: Direction, comparable: Path) -> dict[str, Any]:
    """By its path as file systems compare it."""
    rows = await panel.reader.rows_of(
        ListedFile, "file_at", fid=fid, direction=direction, comparable=comparable
    )
    return {"file": asdict(rows[0]) if rows else None}


@router.get(
    "/totals", summary="How many files a run has", responses=answers(Totals) | problems(403)
)
async def totals(panel: Panel, fid: RunId) -> dict[str, Any]:
    """And their bytes."""
    return asdict(await _totals(panel, fid))


@router.post(
    "/contents",
    status_code=201,
    summary="Store content of a run",
    responses=answers(Content, 201) | problems(403, 413),
    openapi_extra={
        "requestBody": {
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            }
        }
    },
)
async def contents(request: Request, panel: Panel, fid: RunId) -> dict[str, Any]:
    """Of any size, in a stream. It is a file once an `upload` event of the run names it."""
    length = request.headers.get("content-length", "")
    try:
        size = int(length[:19]) if length.isdigit() else 0
        check_size(size, panel.settings)
        check_execution(1, size, await _totals(panel, fid), panel.settings)
        of_owner = await _owner_bytes(panel, fid)
        check_owner(size, of_owner, panel.settings)
        key = object_key(fid)
        pieces = _bounded(request.stream(), of_owner, panel.settings)
        written = await write_stream(await panel.files.storage(), key, pieces)
    except (FileLimitError, StorageError) as exc:
        raise refusal(exc) from exc
    except ClientDisconnect as exc:
        raise HTTPException(400, "the content broke off; nothing of it is stored") from exc
    return {"key": key} | written._asdict()


@router.post(
    "/bind",
    summary="Have what a run was launched with be its files",
    responses=answers(Bound) | problems(403, 404, 409, 413),
)
async def bind(panel: Panel, fid: RunId) -> dict[str, Any]:
    """All files of the batches of its launch, in `in`; done again, it answers the same."""
    depot = panel.files
    binding = depot.binding(await depot.storage())
    batches = await panel.reader.values("given_batches", fid=fid)
    bound = [
        file._asdict() for batch in batches for file in await depot.run(binding.bind, fid, batch)
    ]
    return {"files": bound}


async def _totals(panel: State, fid: str) -> FileTotals:
    rows = await panel.reader.rows_of(FileTotals, "file_totals", fid=fid)
    return rows[0] if rows else FileTotals(0, 0)


async def _owner_bytes(panel: State, fid: str) -> int | None:
    """Bytes of all files of a run's owner; None if it has none, or nothing limits them."""
    if panel.settings.owner_file_bytes is None:
        return None
    rows = await panel.reader.values("owner_bytes_of_run", fid=fid)
    return int(rows[0]) if rows else None


async def _bounded(
    pieces: AsyncIterator[bytes], of_owner: int | None, settings: Settings
) -> AsyncIterator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        check_size(size, settings)
        check_owner(size, of_owner, settings)
        yield piece
