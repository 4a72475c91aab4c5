"""Keeping storage and table of one mind: what nobody has is deleted, what is lost is named.

A content is stored before anything says so, and its row is gone before it is: whatever process is
killed in between, what is left over is content without a row, an orphan, or a file that was being
written.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from psycopg.rows import RowFactory, class_row, scalar_row

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.files.content_keys import OBJECTS, UPLOADS
from kodosumi_prefect.files.record import file_changes
from kodosumi_prefect.files.storage import Storage

DAY = 86_400.0  # seconds
PORTION = 500  # contents, batches or executions of one transaction
STATEMENT_TIMEOUT = 300.0  # seconds
# Seconds for which a content without a file is left, for downloads of it that are under way.
LINGER = 600.0
ORPHAN_AGE = DAY  # of content without a row; what is just being stored has none either
# Seconds for which an execution is over before its orphans go: the event that names one may be in
# the spill file of a machine that is off.
LATEST_EVENT = 7 * DAY

R = TypeVar("R")  # a row


@dataclass(frozen=True, slots=True)
class DeletedFiles:
    """A row of ``delete_files`` and ``count_files_of``."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _UploadEvent:
    """A row of ``upload_events``."""

    execution_id: int
    fid: str
    ts: float
    payload: str
    attempt: int
    source: str | None


class Discrepancy(NamedTuple):
    """Something that is in the storage or in the table, and not in the other.

    Attributes:
        sort: ``orphan`` for content without a row, ``lost`` for a row without content, ``unlisted``
            for an event without a row.
        what: key or path.
        size: bytes.
        fixed: it was mended.
    """

    sort: str
    what: str
    size: int
    fixed: bool


class FileUpkeep:
    """Deletes what is due, and compares; a context manager with one connection.

    Arguments:
        url: libpq URL.
        schema: where our tables are.
        dry_run: count, delete nothing.
    """

    def __init__(self, url: str, schema: str, storage: Storage, *, dry_run: bool = False) -> None:
        self._url = url
        self._queries = Queries(schema)
        self._storage = storage
        self._dry_run = dry_run

    def __enter__(self) -> "FileUpkeep":
        self._connection = connect(self._url, answer_timeout=STATEMENT_TIMEOUT)
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    @property
    def is_registered(self) -> bool:
        """Whether the storage is the one that holds the contents."""
        return self.registered is not None and self.registered == self._storage.known_identity()

    @property
    def registered(self) -> str | None:
        """What tells the storage that holds the contents; None before there is one."""
        known: list[str] = self._values("registered_storage")
        return known[0] if known else None

    def files(self, days: float) -> Iterator[DeletedFiles]:
        """Forget the files of executions that ended more than ``days`` ago.

        Their contents go with ``dropped``, their events stay.

        Raises:
            psycopg.Error: Postgres is away.
        """
        after = 0
        while ids := self._values("files_past", after=after, age=days * DAY, limit=PORTION):
            if self._dry_run:
                [gone] = self._rows(class_row(DeletedFiles), "count_files_of", ids=ids)
            else:
                [gone] = self._rows(
                    class_row(DeletedFiles), "delete_files", ids=ids, age=days * DAY
                )
            yield gone
            after = ids[-1]

    def dropped(self, linger: float | None = None) -> Iterator[int]:
        """Delete contents that no file has any more; how many a time.

        Arguments:
            linger: seconds for which they are left; ``LINGER`` if not given.

        Raises:
            StorageError: not all of them; they are tried again.
        """
        age = LINGER if linger is None else linger
        while keys := self._values("dropped_contents", age=age, limit=PORTION):
            if self._dry_run:
                yield len(keys)
                return
            self.delete_dropped(keys)
            yield len(keys)

    def delete_dropped(self, keys: list[str]) -> None:
        """Delete contents that no file has any more, by their keys.

        Raises:
            StorageError: not all of them; they are tried again.
        """
        self._storage.delete(keys)
        self._execute("forget_dropped", keys=keys)

    def uploads(self, hours: float) -> Iterator[int]:
        """Delete what was uploaded so long ago and belongs to nothing; how many batches a time.

        What was launched with goes as soon as the run has its copy, or is over.

        Raises:
            StorageError: not all of it; it is tried again.
        """
        while batches := self._values("stale_batches", age=hours * 3600, limit=PORTION):
            if self._dry_run:
                yield len(batches)
                return
            self.delete_uploads(batches)
            yield len(batches)

    def delete_uploads(self, batches: list[str]) -> None:
        """Delete what was uploaded, by the ids of batches.

        Raises:
            StorageError: not all of it; it is tried again.
        """
        for batch in batches:
            self._storage.delete_below(f"{UPLOADS}/{batch}")
        self._execute("delete_batches", ids=batches)

    def broken_off(self) -> Iterator[int]:
        """Delete what processes that are gone were writing; how many a time.

        Raises:
            StorageError: not all of it; it is tried again.
        """
        if keys := [each.key for each in self._storage.broken_off(_old())]:
            if not self._dry_run:
                self._storage.delete(keys)
            yield len(keys)

    def orphans(self) -> Iterator[int]:
        """Delete contents of executions that were never listed as files; how many a time.

        All of the storage is looked through.

        Raises:
            StorageError: not all of them; they are tried again.
        """
        for portion in self._old_contents(OBJECTS):
            ids = {key: fid for key in portion if (fid := _fid(key)) is not None}
            over = set(
                self._values("executions_over", fids=list({*ids.values()}), age=LATEST_EVENT)
            )
            keys = self._unknown([key for key in ids if ids[key] in over], "known_contents")
            if keys:
                if not self._dry_run:
                    self._storage.delete(keys)
                yield len(keys)

    def discrepancies(self, *, fix: bool = False) -> Iterator[Discrepancy]:
        """Compare storage and table.

        Arguments:
            fix: delete orphans, list what is not listed. What is lost can be brought back from a
                backup only.

        Raises:
            StorageError: the storage is away.
            psycopg.Error: Postgres is.
        """
        yield from self._unlisted(fix=fix)  # first: what is listed then is no orphan
        yield from self._orphans(fix=fix)
        yield from self._lost()

    def _orphans(self, *, fix: bool) -> Iterator[Discrepancy]:
        for root, query in ((OBJECTS, "known_contents"), (UPLOADS, "known_uploads")):
            for portion in self._old_contents(root):
                orphans = self._unknown(list(portion), query)
                yield from self._as_orphans({key: portion[key] for key in orphans}, fix=fix)
        broken_off = {each.key: each.size for each in self._storage.broken_off(_old())}
        yield from self._as_orphans(broken_off, fix=fix)

    def _as_orphans(self, sizes: dict[str, int], *, fix: bool) -> Iterator[Discrepancy]:
        if fix:
            self._storage.delete(sizes)
        for key, size in sizes.items():
            yield Discrepancy("orphan", key, size, fix)

    def _old_contents(self, root: str) -> Iterator[dict[str, int]]:
        """The sizes of contents that are not just being stored, by key; a portion a time."""
        before = _old()
        old = (each for each in self._storage.contents(root) if each.modified < before)
        while portion := list(islice(old, PORTION)):
            yield {each.key: each.size for each in portion}

    def _unknown(self, keys: list[str], query: str) -> list[str]:
        """Those of some keys that a query does not know."""
        known = set(self._values(query, keys=keys)) if keys else set()
        return [key for key in keys if key not in known]

    def _lost(self) -> Iterator[Discrepancy]:
        after: tuple[int, str, str] = (0, "", "")
        while rows := self._connection.execute(
            self._queries["files_after"],
            {"id": after[0], "direction": after[1], "comparable": after[2], "limit": PORTION},
        ).fetchall():
            for id_, direction, comparable, fid, path, key, size in rows:
                if self._storage.size(key) != size:
                    yield Discrepancy("lost", f"{fid} {path}", size, False)
                after = (id_, direction, comparable)

    def _unlisted(self, *, fix: bool) -> Iterator[Discrepancy]:
        """Files of events that a Spooler of an older release stored, which knew no files."""
        every = self._rows(class_row(_UploadEvent), "upload_events")
        for (id_, fid), events in groupby(every, lambda event: (event.execution_id, event.fid)):
            said = [Event(e.ts, Kind.UPLOAD, e.payload, e.attempt, e.source) for e in events]
            rows = {row["key"]: row for row in file_changes(said, fid).stored}
            known = set(self._values("known_contents", keys=list(rows)))
            for key, row in rows.items():
                if key in known or self._storage.size(key) != row["size"]:
                    continue  # replaced or removed since, and its content deleted
                if fix:
                    self._execute("put_files", id=id_, files=json.dumps([row]))
                    self._execute("count_files", id=id_)
                path = f"{fid} {row['direction']}/{row['path']}"
                yield Discrepancy("unlisted", path, row["size"], fix)

    def _execute(self, query: str, /, **parameters: Any) -> None:
        self._connection.execute(self._queries[query], parameters)

    def _values(self, query: str, /, **parameters: Any) -> list[Any]:
        return self._rows(scalar_row, query, **parameters)

    def _rows(self, row_factory: RowFactory[R], query: str, /, **parameters: Any) -> list[R]:
        with self._connection.cursor(row_factory=row_factory) as cursor:
            return cursor.execute(self._queries[query], parameters).fetchall()


def _old() -> datetime:
    """What is older than this is not being stored any more."""
    return datetime.now(UTC) - timedelta(seconds=ORPHAN_AGE)


def _fid(key: str) -> str | None:
    """The execution that a content belongs to, if its key names one."""
    try:
        return str(UUID(key.split("/")[1]))
    except (IndexError, ValueError):
        return None
