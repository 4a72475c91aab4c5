"""Retention: what ended long ago is deleted, a little at a time; live executions never are.

A late batch of a deleted execution, such as one replayed from a spill file, is stored: it makes
the row anew, under a new internal id, so it never falls into a dropped partition. The observer
then finds that its flow run is over and ends it with the run's own state, and if that was long
ago the next retention deletes it again. Refusing the batch instead would lose events of a run
that was retried, and leave the spill file for ever.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from psycopg.rows import RowFactory, class_row, dict_row, scalar_row

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.contents import WITH_CONTENTS, without_contents
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.events import DROPPABLE_KINDS, Kind

HOUR = 3600.0  # seconds
DAY = 86_400.0  # seconds
PORTION_TIMEOUT = 300.0  # seconds that one of its statements may take
PORTION = 500  # executions of one transaction, at most
KEPT_DELETED = 7 * DAY  # for which followers of changes can read deleted executions
PORTION_AUDIT = 10_000  # audit entries of one transaction
PORTION_WORDS = 5_000  # rows of the outbox of one transaction
PORTION_CONTENTS = 500  # events of one transaction, whose contents may be large
PORTION_EVENTS = 50_000  # events of one transaction, but for an execution that alone has more


R = TypeVar("R")  # a row


@dataclass(frozen=True, slots=True)
class _Expired:
    """A row of ``expired``: an execution's internal id, and how many events it has."""

    id: int
    events: int


@dataclass(frozen=True, slots=True)
class _Deleted:
    """A row of ``delete_executions`` and ``delete_events``: how many were deleted."""

    executions: int
    events: int


@dataclass(frozen=True, slots=True)
class _Reach:
    """A row of ``lock_expired_contents``."""

    last_seq: int
    contents_until: int


class Removed(NamedTuple):
    """What one transaction removed, or would remove; ``what`` is executions, stdio, contents."""

    what: str
    executions: int
    events: int


class Retention:
    """Deletes what is older than it has to be kept; a context manager with one connection.

    Each portion is a transaction of its own and locks only rows of executions that are over. One
    that a writer just holds is left for the next time. Nothing needs more rights than writers
    have by ``db grants``.

    Arguments:
        url: libpq URL.
        schema: where our tables are.
        dry_run: count, delete nothing.
    """

    def __init__(self, url: str, schema: str, *, dry_run: bool = False) -> None:
        self._url = url
        self._queries = Queries(schema)
        self._dry_run = dry_run

    def __enter__(self) -> "Retention":
        self._connection = connect(self._url, answer_timeout=PORTION_TIMEOUT)
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def executions(self, days: float) -> Iterator[Removed]:
        """Delete executions that ended more than ``days`` ago, with all their events."""
        for ids in self._portions(days):
            if self._dry_run:
                [events] = self._values("count_events", ids=ids, kinds=None)
                yield Removed("executions", len(ids), events)
            else:
                [deleted] = self._rows(
                    class_row(_Deleted), "delete_executions", ids=ids, age=days * DAY
                )
                yield Removed("executions", deleted.executions, deleted.events)

    def stdio(self, days: float, kept_days: float | None = None) -> Iterator[Removed]:
        """Delete stdout, stderr, debug and upload events of executions that ended so long ago.

        Arguments:
            days: since the execution's end.
            kept_days: executions that ended longer ago are left to ``executions``.
        """
        kinds = sorted(DROPPABLE_KINDS | {Kind.UPLOAD})
        spared = set(self._all(kept_days)) if kept_days is not None and self._dry_run else set()
        for ids in self._portions(days):
            if self._dry_run:
                left = [number for number in ids if number not in spared]
                [events] = self._values("count_events", ids=left, kinds=kinds)
                yield Removed("stdio", 0, events)
            else:
                [deleted] = self._rows(
                    class_row(_Deleted), "delete_events", ids=ids, kinds=kinds, age=days * DAY
                )
                yield Removed("stdio", 0, deleted.events)

    def contents(self, days: float) -> Iterator[Removed]:
        """Delete prompts and answers of executions that ended so long ago, the rest stays.

        What a late writer adds to one of them goes the next time.
        """
        after = 0
        while rows := self._rows(
            class_row(_Expired), "expired_contents", after=after, age=days * DAY, limit=PORTION
        ):
            for row in rows:
                if self._dry_run:
                    yield Removed("contents", 1, row.events)
                else:
                    yield from self._contents_of(row.id, days)
            after = rows[-1].id

    def _contents_of(self, execution: int, days: float) -> Iterator[Removed]:
        while True:
            with self._connection.transaction():
                found = self._rows(
                    class_row(_Reach), "lock_expired_contents", id=execution, age=days * DAY
                )
                if not found or found[0].contents_until >= found[0].last_seq:
                    return
                events = self._rows(
                    dict_row,
                    "contents_after",
                    id=execution,
                    after=found[0].contents_until,
                    kinds=sorted(WITH_CONTENTS),
                    limit=PORTION_CONTENTS,
                )
                removed = 0
                with self._connection.cursor() as cursor:
                    for event in events:
                        payload = without_contents(event["kind"], event["payload"])
                        if payload != event["payload"]:
                            removed += 1
                            changed = event | {"payload": payload}
                            cursor.execute(self._queries["delete_event"], changed)
                            cursor.execute(self._queries["put_event_back"], changed)
                    whole = len(events) < PORTION_CONTENTS
                    until = found[0].last_seq if whole else events[-1]["seq"]
                    cursor.execute(
                        self._queries["note_contents"], {"id": execution, "until": until}
                    )
            yield Removed("contents", int(whole), removed)

    def audit(self, days: float) -> Iterator[int]:
        """Delete audit entries older than ``days``, 7 at least; yields how many a time.

        Raises:
            psycopg.errors.InsufficientPrivilege: the role may not; see ``db grants``.
        """
        age = days * DAY
        if self._dry_run:
            yield from self._values("count_old_audit", age=age)
            return
        while deleted := self._values("forget_audit", age=age, most=PORTION_AUDIT)[0]:
            yield deleted

    def words(self, days: float) -> Iterator[int]:
        """Forget what was told, or set aside, more than ``days`` ago; yields how many a time."""
        while not self._dry_run and (
            forgotten := len(self._values("forget_words", age=days * DAY, limit=PORTION_WORDS))
        ):
            yield forgotten

    def partitions(self) -> Iterator[str]:
        """Drop partitions whose executions are all deleted; yields their names.

        Needs all of the event table for a moment. It waits for at most 300 ms, and what is in use
        is left for the next time.
        """
        for name in self._values("empty_partitions"):
            if self._dry_run or self._values("drop_empty_partition", name=name)[0]:
                yield name

    def forget(self, launch_key_hours: float) -> None:
        """Forget what was deleted more than 7 days ago, and services and Runners silent for a day.

        A Runner's row stays as long as its run is not over.

        Arguments:
            launch_key_hours: for which the keys of launches are remembered.
        """
        if not self._dry_run:
            self._connection.execute(self._queries["prune_runners"])
            self._connection.execute(self._queries["prune_hooks"])
            self._connection.execute(self._queries["forget_services"])
            self._connection.execute(self._queries["forget_deleted"], {"age": KEPT_DELETED})
            self._connection.execute(self._queries["forget_spending"])
            age = launch_key_hours * HOUR
            self._connection.execute(self._queries["forget_launch_keys"], {"age": age})

    def _all(self, days: float) -> Iterator[int]:
        for ids in self._portions(days):
            yield from ids

    def _portions(self, days: float) -> Iterator[list[int]]:
        after = 0
        while True:
            rows = self._rows(
                class_row(_Expired),
                "expired",
                after=after,
                age=days * DAY,
                limit=PORTION,
                events=PORTION_EVENTS,
            )
            if not rows:
                return
            yield [row.id for row in rows]
            after = rows[-1].id

    def _values(self, query: str, /, **parameters: Any) -> list[Any]:
        """The first column of a query's rows."""
        return self._rows(scalar_row, query, **parameters)

    def _rows(self, row_factory: RowFactory[R], query: str, /, **parameters: Any) -> list[R]:
        with self._connection.cursor(row_factory=row_factory) as cursor:
            return cursor.execute(self._queries[query], parameters).fetchall()
