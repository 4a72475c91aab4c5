"""Giving files that people sent to an execution: all of them at once, and once.

Each content is copied to where the execution's are; then one ``upload`` event lists them all. That
event has a key, so it does no harm to do it again, or in two processes at once: each makes copies
of its own, and deletes them if the other's are listed.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kodosumi_prefect.database.rows.files import FileTotals, Upload, UploadBatch
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.limits import check_execution
from kodosumi_prefect.files.names import Direction, checked_path, comparable
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.storage import Storage
from kodosumi_prefect.files.uploads import (
    Query,
    UnknownUploadError,
    batch_of,
    uploads_of,
    whole,
)
from kodosumi_prefect.settings import Settings

Append = Callable[[str, Event], object]  # stores an event of the execution with this fid


class SameNameError(KodosumiError):
    """Two files would have one name."""


class OtherExecutionError(KodosumiError):
    """The files are another execution's."""


class BoundFile(NamedTuple):
    """A file that an execution has now.

    Attributes:
        upload: the id that it was sent under.
        path: begins with ``in/`` or ``out/``.
        size: bytes.
        sha256: in hexadecimal.
    """

    upload: str
    path: str
    size: int
    sha256: str


class Binding:
    """Gives uploaded files to executions; in any process that reaches storage and database.

    Its methods block.

    Arguments:
        query: the rows of a query of ``database/sql``, as ``Spooler.query``.
        append: see ``spooler.one_event``.
    """

    def __init__(self, storage: Storage, query: Query, append: Append, settings: Settings) -> None:
        self._storage = storage
        self._query = query
        self._append = append
        self._settings = settings

    def bind(
        self,
        fid: str,
        batch: str,
        direction: Direction = Direction.IN,
        names: Mapping[str, str] | None = None,
        source: str | None = None,
    ) -> list[BoundFile]:
        """Have files of a batch be an execution's.

        A batch that is kept for a schedule stays; of another one what is bound is used up.

        Arguments:
            names: by upload id, the paths below ``in/`` or ``out/`` that they get; all files of
                the batch by their own if not given.
            source: of the event, as ``Event.source``.

        Returns:
            What the execution has of them, in the order of ``names``, else by path.

        Raises:
            UnknownUploadError, IncompleteUploadError, FileRefusedError, FileLimitError,
            FileNameError, SameNameError, OtherExecutionError: nothing is bound.
            StorageError, ScanError: not now; do it again.
        """
        key = _key(batch, direction, None if names is None else list(names))
        try:
            return self._bind(fid, batch, direction, names, source, key)
        except (FileNotFoundError, UnknownUploadError):
            # Another process has bound them meanwhile, and removed what it had copied.
            known = _known(batch_of(batch, self._query), fid, key)
            if known is None:
                raise
            return known

    def _bind(
        self,
        fid: str,
        batch: str,
        direction: Direction,
        names: Mapping[str, str] | None,
        source: str | None,
        key: str,
    ) -> list[BoundFile]:
        # In this order: what is used up before is in the answers afterwards.
        uploads = {upload.id: upload for upload in uploads_of(batch, self._query)}
        row = batch_of(batch, self._query)
        if (known := _known(row, fid, key)) is not None:
            return known
        chosen = _chosen(uploads, batch, names)
        self._require_room(fid, [upload for upload, _ in chosen])
        done = [
            (whole(upload, self._storage, self._query, self._settings), f"{direction}/{path}")
            for upload, path in chosen
        ]
        if files := self._copies(fid, done):
            now = time.time()
            payload = payload_of(list(files.values()), ts=now)
            self._append(fid, Event(now, Kind.UPLOAD, payload, source=source, dedupe=key))
            listed = self._copies_listed(fid, list(files))
            others = [
                id_ for id_, file in files.items() if file.key not in listed.get(id_, [file.key])
            ]
            self._storage.delete(files[id_].key for id_ in others)
        bound = [BoundFile(id_, f.path, f.size, f.sha256) for id_, f in files.items()]
        self._use_up(row, fid, [key, _key(batch, direction, None)], bound, list(uploads))
        return bound

    def _copies(self, fid: str, uploads: Iterable[tuple[Upload, str]]) -> dict[str, StoredFile]:
        """Copy contents to where the execution's are; by upload id."""
        files: dict[str, StoredFile] = {}
        try:
            for upload, path in uploads:
                assert upload.key and upload.size is not None and upload.sha256 is not None
                key = object_key(fid, upload.id)
                self._storage.copy(upload.key, key)
                files[upload.id] = StoredFile(
                    path, key, upload.size, upload.sha256, upload.media_type
                )
        except BaseException:
            self._storage.delete(file.key for file in files.values())
            raise
        return files

    def _copies_listed(self, fid: str, ids: list[str]) -> dict[str, list[str]]:
        """Which of these uploads the execution's files are copies of, with the copies' keys."""
        return dict(self._query("copies_of_uploads", {"fid": fid, "uploads": ids}))

    def _require_room(self, fid: str, uploads: Sequence[Upload]) -> None:
        """Raise FileLimitError if the execution may not have these too."""
        listed = self._copies_listed(fid, [upload.id for upload in uploads])
        new = [upload for upload in uploads if upload.id not in listed]
        size = sum(u.received_bytes if u.size is None else u.size for u in new)
        rows = self._query("file_totals", {"fid": fid})
        has = FileTotals(*rows[0]) if rows else FileTotals(0, 0)
        check_execution(len(new), size, has, self._settings)

    def _use_up(
        self,
        batch: UploadBatch,
        fid: str,
        keys: list[str],
        bound: Sequence[BoundFile],
        every: Sequence[str],
    ) -> None:
        """Remember what was bound, and drop what was sent for it."""
        ids = [file.upload for file in bound]
        if set(ids) != set(every):
            keys = keys[:1]
        for key in dict.fromkeys(keys):
            row = {"id": batch.id, "fid": fid, "name": key, "answer": json.dumps(bound)}
            if not self._query("answer_batch", row):
                return  # kept for a schedule
        self._storage.delete(key for (key,) in self._query("drop_uploads", {"ids": ids}))


def _key(batch: str, direction: Direction, ids: list[str] | None) -> str:
    """By what an event that binds these is known; ``None`` for all files of the batch."""
    key = f"files:{batch}:{direction}"
    if ids is None:
        return key
    return f"{key}:{hashlib.sha256(' '.join(sorted(ids)).encode()).hexdigest()[:16]}"


def _known(batch: UploadBatch, fid: str, key: str) -> list[BoundFile] | None:
    """What binding was answered before; None if it was not.

    Raises:
        OtherExecutionError: the batch is another execution's.
    """
    if batch.schedule is None and batch.fid not in (None, fid):
        raise OtherExecutionError(f"batch {batch.id} was given to execution {batch.fid} already")
    answers: dict[str, Any] = json.loads(batch.answer or "{}")
    return [BoundFile(*file) for file in answers[key]] if key in answers else None


def _chosen(
    uploads: Mapping[str, Upload], batch: str, names: Mapping[str, str] | None
) -> list[tuple[Upload, str]]:
    """The uploads with their paths."""
    if names is None:
        return [(upload, upload.path) for upload in uploads.values()]
    chosen: dict[str, tuple[Upload, str]] = {}
    for id_, name in names.items():
        if id_ not in uploads:
            raise UnknownUploadError(f"there is no upload {id_} in batch {batch}; send it again")
        path = checked_path(name)
        if (other := chosen.get(comparable(path))) is not None:
            raise SameNameError(f"{path!r} and {other[1]!r} are one name on some machines")
        chosen[comparable(path)] = (uploads[id_], path)
    return list(chosen.values())
