"""What people do to files: send them, complete them into an execution, remove them."""

import mimetypes
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from kodosumi_prefect.database.rows.files import ListedFile, Upload, UploadBatch, UploadChunk
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.files.binding import BoundFile
from kodosumi_prefect.files.content_keys import upload_key
from kodosumi_prefect.files.incoming import IncomingContent
from kodosumi_prefect.files.limits import FileLimitError, check_owner, check_size
from kodosumi_prefect.files.names import Direction, FileNameError, checked_path, comparable
from kodosumi_prefect.files.record import payload_of
from kodosumi_prefect.files.storage import Storage
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.files.depot import LARGEST_CHUNK, refusal
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    OversizedError,
    RefusedError,
)
from kodosumi_prefect.stream.reader import ALL
from kodosumi_prefect.stream.rows import StoredExecution

MOST_CHUNKS = 1_000_000
AT_THE_SAME_MOMENT = 16  # chunks that a panel adds at most; it has fewer connections
SIGNED = 3600.0  # seconds for which a URL of the storage is good
UNKNOWN = "application/octet-stream"
REMOVED_AT_ONCE = 1000  # paths of one event

R = TypeVar("R")


class Announced(NamedTuple):
    """A file that is about to be sent.

    Attributes:
        name: its path.
        chunks: how many it comes in.
        size: bytes, if known.
        sha256: in hexadecimal, if known.
    """

    name: str
    chunks: int
    size: int | None = None
    sha256: str | None = None


class Begun(NamedTuple):
    """Where to send it; ``url`` if straight to the storage, by PUT."""

    upload: str
    url: str | None = None


class Item(NamedTuple):
    """A file to be completed: the name that it gets, and of how many chunks it is."""

    name: str
    chunks: int


class FileDesk:
    """Where somebody sends files, and has them be part of executions.

    Its methods raise what ``depot.REFUSALS`` has, and UnavailableError where the storage is away.

    Arguments:
        user: who does.
    """

    def __init__(self, panel: State, user: User) -> None:
        self._panel = panel
        self._user = user
        self._settings = panel.settings

    async def begin_batch(self) -> str:
        """The id of a new batch."""
        return await self._add_batch(str(uuid4()))

    async def begin(self, file: Announced, batch: str | None, *, by_url: bool = False) -> Begun:
        """Announce a file.

        Arguments:
            batch: one of their own; of its own if not given.
            by_url: it is sent straight to the storage.
        """
        try:
            path = checked_path(file.name)
            if file.size is not None:
                check_size(file.size, self._settings)
        except (FileNameError, FileLimitError) as exc:
            raise refusal(exc) from exc
        if not 0 <= file.chunks <= MOST_CHUNKS:
            raise InvalidError(f"total_chunks is {file.chunks}; from 0 to {MOST_CHUNKS:,}")
        await self._require_room(file.size or 0)
        id_ = str(uuid4())
        if batch is not None:
            await self._require_open(batch)
        key = upload_key(batch or id_, f"{id_}.put")
        url = await self._url(key) if by_url else None
        if batch is None:
            await self._add_batch(id_)
        values = {
            "id": id_,
            "batch": batch or id_,
            "path": path,
            "comparable": comparable(path),
            "chunks": 0 if by_url else file.chunks,
            "media_type": mimetypes.guess_type(path)[0] or UNKNOWN,
            "size": file.size,
            "sha256": file.sha256,
        }
        if not await self._panel.reader.values("add_upload", **values):
            id_ = await self._begun(str(batch), path, values, by_url=by_url)
        if by_url:
            await self._panel.reader.execute("expect_content", id=id_, key=key)
        return Begun(id_, url)

    async def add_chunk(self, upload: str, number: int, content: IncomingContent) -> int:
        """Store a part of a file.

        Returns:
            How many parts are there.
        """
        row, size = await self.upload(upload), content.size
        if row.refused is not None:
            raise InvalidError(row.refused)
        if not 0 <= number < row.chunks:
            raise InvalidError(
                f"chunk_number is {number}; {row.path!r} has {row.chunks} chunks, from 0 on"
            )
        if size > LARGEST_CHUNK:
            raise OversizedError(f"the chunk has {size:,} bytes; {LARGEST_CHUNK:,} at most")
        # Most come once, so that is looked for where there is no room for another one.
        excess = await self._excess(row, size)
        refused = row.received == row.chunks or excess is not None
        if refused and (known := await self._arrived(upload, number)) is not None:
            await self._require_same(row, known, content)
            received = row.received
        elif excess is not None:
            raise excess
        else:
            received = await self._store(row, number, content)
        if received == row.chunks and not row.is_whole:
            self._panel.files.assemble(upload)
        return received

    async def chunks(self, upload: str) -> list[UploadChunk]:
        """The parts of a file that are there."""
        return await self._panel.reader.rows_of(UploadChunk, "chunks_of", upload=upload)

    async def complete(
        self,
        execution: StoredExecution,
        batch: str,
        direction: Direction,
        items: Mapping[str, Item],
    ) -> list[BoundFile]:
        """Have files of a batch be an execution's: all of them, or none."""
        self._require_own(execution)
        await self.batch(batch)
        depot = self._panel.files
        rows = await self._require_chunks(batch, items)
        await depot.assembled(row for row in rows if row.id in items)
        binding = depot.binding(await depot.storage())
        names = {id_: item.name for id_, item in items.items()}
        return await depot.run(binding.bind, execution.fid, batch, direction, names)

    async def settle(self, upload: str, item: Item) -> Upload:
        """Have a file be whole and looked at, without giving it to an execution yet."""
        row = await self.upload(upload)
        await self._require_chunks(row.batch, {upload: item})
        depot = self._panel.files
        await depot.assembled([row])
        done: Upload = await depot.run(depot.whole, upload, await depot.storage())
        return done

    async def cancel(self, upload: str) -> None:
        """Forget a file that was being sent."""
        row = await self.upload(upload)
        await self._require_open(row.batch)
        storage = await self._panel.files.storage()
        keys = await self._panel.reader.values("drop_uploads", ids=[upload])
        await self._panel.files.run(storage.delete, keys)

    async def remove(self, execution: StoredExecution, direction: Direction, path: str) -> int:
        """Remove a file, a folder with all that is in it, or all of ``in`` or ``out``.

        Returns:
            How many files.

        Raises:
            NotFoundError: there is nothing of that path.
        """
        self._require_own(execution)
        files = await listed(self._panel, execution.fid, direction, path)
        if not files:
            raise NotFoundError(f"there is no {direction}/{path}")
        now = time.time()
        events = [
            Event(now, Kind.UPLOAD, payload_of(removed=paths, ts=now))
            for paths in _slices([file.path for file in files])
        ]
        await self._panel.files.run(self._panel.files.append, execution.fid, *events)
        return len(files)

    async def upload(self, id_: str) -> Upload:
        """A file that this account is sending.

        Raises:
            NotFoundError: there is none.
        """
        rows = await self._panel.reader.rows_of(Upload, "upload", id=id_)
        if not rows or rows[0].owner != self._user.id:
            raise NotFoundError(f"there is no upload {id_}; it was completed, cancelled or expired")
        return rows[0]

    async def batch(self, id_: str) -> UploadBatch:
        """A batch of this account.

        Raises:
            NotFoundError: there is none.
        """
        rows = await self._panel.reader.rows_of(UploadBatch, "upload_batch", id=id_)
        if not rows or rows[0].owner != self._user.id:
            raise NotFoundError(f"there is no batch {id_}; begin another one")
        return rows[0]

    async def batch_of(self, upload: str) -> str:
        """The batch of a file; one that was sent alone has a batch of its own id."""
        rows = await self._panel.reader.rows_of(Upload, "upload", id=upload)
        return (await self.upload(upload)).batch if rows else upload

    async def _add_batch(self, id_: str) -> str:
        await self._panel.reader.execute("add_upload_batch", id=id_, owner=self._user.id)
        return id_

    async def _begun(self, batch: str, path: str, values: dict[str, Any], *, by_url: bool) -> str:
        """The file of this name that was announced before; asked again, it is the same."""
        rows = await self._panel.reader.rows_of(
            Upload, "upload_of_name", batch=batch, comparable=values["comparable"]
        )
        if rows:
            row = rows[0]
            if row.id == values["id"]:  # Postgres had added it before, and the answer was lost
                return row.id
            said = (row.path, row.chunks, row.declared_size, row.declared_sha256)
            again = said == (path, values["chunks"], values["size"], values["sha256"])
            if again and not row.received and not row.is_whole and not by_url and row.key is None:
                return row.id
            path = row.path
        raise ConflictError(
            f"the batch has {path!r} already; cancel that first, or give this one another name"
        )

    async def _arrived(self, upload: str, number: int) -> UploadChunk | None:
        rows = await self._panel.reader.rows_of(
            UploadChunk, "arrived_chunk", upload=upload, number=number
        )
        return rows[0] if rows else None

    async def _excess(self, row: Upload, size: int) -> RefusedError | None:
        """Why a file may not get so many more bytes, if that is so."""
        try:
            check_size(row.received_bytes + size, self._settings)
        except FileLimitError as exc:
            return refusal(exc)
        if row.declared_size is not None:
            if row.received_bytes + size > row.declared_size:
                return OversizedError(f"{row.path!r} has more bytes than were announced")
            return None
        try:
            await self._require_room(size)
        except RefusedError as exc:
            return exc
        return None

    async def _store(self, row: Upload, number: int, content: IncomingContent) -> int:
        """Store a part, unless it is there; how many are there."""
        depot = self._panel.files
        key = upload_key(row.batch, f"{row.id}.{number}.{uuid4().hex[:12]}")
        settled = row.chunks == 1  # it is the file then; what is joined is on the disk after that
        written = await depot.run(partial(content.keep, key, settled=settled))
        values = {"upload": row.id, "number": number, "key": key} | written._asdict()
        if received := await self._panel.reader.values("add_chunk", **values):
            if received[0] < row.chunks - AT_THE_SAME_MOMENT:
                return int(received[0])
        else:
            known = await self._arrived(row.id, number)
            if known is None or known.key != key:  # else its row was added, and the answer lost
                storage = await depot.storage()
                await depot.run(storage.delete, [key])
            if known is None:
                raise ConflictError(f"{row.path!r} is complete, cancelled or refused")
            await self._require_same(row, known, content)
        # Those that were added at the same moment are not in the count above.
        [received] = await self._panel.reader.values("received_chunks", upload=row.id)
        return int(received)

    async def _require_same(
        self, row: Upload, known: UploadChunk, content: IncomingContent
    ) -> None:
        written = await self._panel.files.run(content.written)
        if written.sha256 != known.sha256:
            raise ConflictError(
                f"chunk {known.number} of {row.path!r} came with other content before"
            )

    async def _url(self, key: str) -> str:
        storage = await self._panel.files.storage()
        return await self._panel.files.run(signed, storage, "PUT", key)

    async def _require_room(self, size: int) -> None:
        if self._settings.owner_file_bytes is None:
            return
        [has] = await self._panel.reader.values("owner_bytes", owner=self._user.id)
        try:
            check_owner(size, int(has), self._settings)
        except FileLimitError as exc:
            raise refusal(exc) from exc

    async def _require_open(self, id_: str) -> None:
        """Raise unless files of this batch may still come and go."""
        batch = await self.batch(id_)
        launched = batch.fid is not None and batch.answer is None
        if launched or batch.schedule is not None:
            raise ConflictError(f"batch {id_} was launched with; begin another one")
        [files] = await self._panel.reader.values("batch_size", batch=id_)
        if files > self._settings.execution_files:
            raise OversizedError(f"batch {id_} has {files:,} files; no run may have more")

    async def _require_chunks(self, batch: str, items: Mapping[str, Item]) -> list[Upload]:
        """The files of a batch, if these were announced with as many chunks."""
        rows = await self._panel.reader.rows_of(Upload, "uploads_of", batch=batch)
        for row in rows:
            item = items.get(row.id)
            if item is not None and row.key is None and item.chunks != row.chunks:
                raise ConflictError(
                    f"{row.path!r} was announced with {row.chunks} chunks, not {item.chunks}"
                )
        return rows

    def _require_own(self, execution: StoredExecution) -> None:
        if not self._user.owns(execution.owner):
            raise ForbiddenError("only its owner and operators may change an execution's files")


async def listed(
    panel: State,
    fid: str,
    direction: Direction,
    folder: str = "",
    *,
    after: str | None = None,
    limit: int = ALL,
) -> list[ListedFile]:
    """Files of an execution, by path; ``folder`` may be one file's path.

    Arguments:
        after: only those behind this path, which is below ``direction``.
    """
    return await panel.reader.rows_of(
        ListedFile,
        "files_of",
        fid=fid,
        direction=direction,
        folder=folder,
        after=after,
        limit=limit,
    )


async def find(panel: State, fid: str, direction: Direction, path: str) -> ListedFile:
    """One file of an execution.

    Raises:
        NotFoundError: there is none of exactly this path.
    """
    try:
        path = checked_path(path)
    except FileNameError as exc:
        raise NotFoundError(f"there is no such file: {exc}") from exc
    rows = await panel.reader.rows_of(
        ListedFile, "file_at", fid=fid, direction=direction, comparable=comparable(path)
    )
    if rows and rows[0].path == f"{direction}/{path}":
        return rows[0]
    if await listed(panel, fid, direction, path, limit=1):
        raise NotFoundError(f"{direction}/{path} is a folder; list {direction}, or name a file")
    raise NotFoundError(f"execution {fid} has no file {direction}/{path}")


def signed(storage: Storage, method: Any, key: str) -> str:
    """A URL of the storage itself.

    Raises:
        InvalidError: it has none.
    """
    url = storage.signed_url(method, key, SIGNED)
    if url is None:
        raise InvalidError("this storage is a folder, which has no URLs; leave out presigned")
    return url


def _slices(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), REMOVED_AT_ONCE):
        yield paths[start : start + REMOVED_AT_ONCE]
