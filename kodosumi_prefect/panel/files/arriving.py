"""Files that come whole and one after the other, of sizes that nobody has announced."""

import json
import mimetypes
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

from kodosumi_prefect.database.rows.files import FileTotals
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.files.content_keys import UPLOADS, upload_key
from kodosumi_prefect.files.limits import check_execution, check_owner, check_size
from kodosumi_prefect.files.names import checked_path, comparable
from kodosumi_prefect.files.scan import UploadedFile, scan
from kodosumi_prefect.files.write_ahead import write_stream
from kodosumi_prefect.files.writing import WrittenContent
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.files.depot import refusal
from kodosumi_prefect.panel.web.state import State

UNKNOWN = "application/octet-stream"


class Arrived(NamedTuple):
    """A file that is stored, and that the scan takes."""

    path: str
    key: str
    written: WrittenContent

    @property
    def media_type(self) -> str:
        """As its name suggests."""
        return mimetypes.guess_type(self.path)[0] or UNKNOWN


class ArrivingFiles:
    """Stores what comes, and has it be as if it had been uploaded.

    Arguments:
        user: whose the files are.
    """

    def __init__(self, panel: State, user: User) -> None:
        self._panel = panel
        self._user = user
        self._batch: str | None = None  # in which they wait
        self._totals = FileTotals(0, 0)

    async def store(self, name: str, pieces: AsyncIterator[bytes]) -> Arrived:
        """Have a file in the storage, and looked at; about one piece of it is in memory.

        Raises:
            RefusedError: it is not taken, and nothing of it is there.
        """
        depot = self._panel.files
        storage = await depot.storage()
        batch = await self._waiting()
        try:
            path = checked_path(name)
            key = upload_key(batch, uuid4().hex)
            written = await write_stream(storage, key, self._bounded(pieces))
        except KodosumiError as exc:
            raise refusal(exc) from exc
        arrived = Arrived(path, key, written)
        file = UploadedFile(
            path,
            written.size,
            arrived.media_type,
            written.sha256,
            self._user.id,
            lambda: storage.read(key),
        )
        await depot.run(scan, file, self._panel.settings)
        self._totals = FileTotals(self._totals.files + 1, self._totals.bytes + written.size)
        return arrived

    async def add_to(self, batch: str, files: Sequence[Arrived]) -> dict[str, str]:
        """Have files be uploads of a batch, a new one or one of the account's; names by their ids.

        The same files in the same batch are the same uploads.

        Raises:
            RefusedError: not now.
        """
        depot = self._panel.files
        storage = await depot.storage()
        rows: list[dict[str, Any]] = []
        for file in files:
            id_ = str(uuid5(UUID(batch), f"{file.path} {file.written.sha256}"))
            key = upload_key(batch, id_)
            await depot.run(storage.copy, file.key, key)
            rows.append(
                {
                    "id": id_,
                    "path": file.path,
                    "comparable": comparable(file.path),
                    "media_type": file.media_type,
                    "key": key,
                    "size": file.written.size,
                    "sha256": file.written.sha256,
                }
            )
        values = {"id": batch, "owner": self._user.id, "files": json.dumps(rows)}
        await self._panel.reader.values("copy_batch", **values)
        return {row["id"]: row["path"] for row in rows}

    async def forget(self) -> None:
        """Delete what waited; what was added to a batch has its own copy.

        Raises:
            RefusedError: not now; it goes as all uploads that nobody uses.
        """
        if self._batch is None:
            return
        storage = await self._panel.files.storage()
        await self._panel.files.run(storage.delete_below, f"{UPLOADS}/{self._batch}")
        await self._panel.reader.execute("delete_batches", ids=[self._batch])

    async def _waiting(self) -> str:
        if self._batch is None:
            self._batch = str(uuid4())
            values = {"id": self._batch, "owner": self._user.id}
            await self._panel.reader.execute("add_upload_batch", **values)
        return self._batch

    async def _bounded(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of a file, as long as it is within all limits."""
        settings, has, size = self._panel.settings, 0, 0
        if settings.owner_file_bytes is not None:
            [has] = await self._panel.reader.values("owner_bytes", owner=self._user.id)
        check_execution(1, 0, self._totals, settings)
        async for piece in pieces:
            size += len(piece)
            check_size(size, settings)
            check_execution(1, size, self._totals, settings)
            check_owner(size, int(has) + self._totals.bytes, settings)
            yield piece
