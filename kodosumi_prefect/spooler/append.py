"""The Spooler: makes batches of events durable and ordered, one transaction per delivery."""

import logging
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
import psycopg

from kodosumi_prefect.database import channels
from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.events import Event, Kind, Status, clean
from kodosumi_prefect.spooler.batch import DEDUPE, KIND, PROTOCOL, Batch, Fields, Header
from kodosumi_prefect.spooler.header import DESCRIBED, REFUSED, TEXTS, bounded, tidied
from kodosumi_prefect.spooler.open_locks import OpenLocks
from kodosumi_prefect.spooler.projection import LOCKING, PROJECTED, Projection
from kodosumi_prefect.spooler.refused import RefusedError
from kodosumi_prefect.spooler.rows import LATEST_TS, escape, line
from kodosumi_prefect.vocabulary import ASIDE

PLACEHOLDER = "[an event of {size:,} characters that Postgres refused: {reason}]"

LARGEST_INT = 2**31 - 1  # that an integer column holds
LONGEST_KEY = 500  # characters of a dedupe key that is stored as it is
COPY_ROWS = 250  # rows sent at once

logger = logging.getLogger(__name__)

_Row = tuple[int, Fields, bool]  # seq, event, whether it came after the end


class GapError(Exception):
    """The database expects an earlier batch of this writer: it was restored from a backup."""

    def __init__(self, batch: Batch, last_batch: int) -> None:
        super().__init__(
            f"batch {batch.number} of writer {batch.writer} for execution {batch.fid} came after "
            f"batch {last_batch}"
        )
        self.fid = batch.fid
        self.writer = batch.writer
        self.number = batch.number
        self.last_batch = last_batch


class ProtocolError(Exception):
    """The database no longer takes this version's batches; an upgraded process can deliver them."""


class _BookedMeanwhileError(Exception):
    """Another delivery of the same batch got there first; what it stored counts."""


class Spooler:
    """Appends batches to the event streams of a database. Used by one thread at a time.

    Arguments:
        url: libpq URL. Nothing here needs session state, so transaction pooling is fine.
        schema: where our tables are.
    """

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._queries = Queries(schema)
        self._connection: psycopg.Connection[Any] | None = None
        self._used = 0.0
        self.instance: str | None = None

    def append(self, batches: Sequence[Batch]) -> None:
        """Store one delivery in one transaction, then wake the feeds.

        A batch that was stored before is acknowledged without storing it again. An event that
        Postgres refuses is replaced by a marked placeholder of the same kind, the rest is stored;
        so is what it refuses of a header.

        Raises:
            RefusedError: these batches are refused even with placeholders; all others are
                stored.
            psycopg.Error: nothing of the delivery is stored; it can be sent again.
            GapError: nothing is stored; the writer has to continue under another id.
            ProtocolError: nothing is stored; this version is too old for the database.
        """
        connection = self.connect()
        refusal: RefusedError | None = None
        try:
            try:
                ended = self._transact(connection, batches, one_by_one=False)
            except _MAY_BE_DATA as exc:
                if not _is_about_data(exc):
                    raise
                ended, refusal = self._transact_apart(connection, batches)
            fids = list(dict.fromkeys(batch.fid for batch in batches if batch.events))
            schema = self._queries.schema
            for name, about in (
                (channels.events(schema), fids),
                (channels.settled_locks(schema), ended),
            ):
                if about:
                    connection.execute(self._queries["notify"], {"channel": name, "fids": about})
        except BaseException as exc:
            if not isinstance(exc, GapError):
                self.close()
            raise
        self._used = time.monotonic()
        if refusal is not None:
            raise refusal

    def heartbeat(self, fids: Sequence[str]) -> None:
        """Record that the process of these executions is alive; does not count as use.

        Raises:
            psycopg.Error: it was not stored.
        """
        self.tell("heartbeat", {"fids": list(fids)})

    def tell(self, query: str, parameters: dict[str, Any]) -> None:
        """Execute a query of ``database/sql`` for its effect; does not count as use.

        Raises:
            psycopg.Error: it had none.
        """
        used = self._used
        try:
            self.connect().execute(self._queries[query], parameters)
        except BaseException:
            self.close()
            raise
        finally:
            self._used = used

    def query(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query of ``database/sql``, in a transaction of its own if none is open.

        Raises:
            psycopg.Error: the database is away or refuses it.
            ProtocolError: this version is too old for the database.
        """
        try:
            cursor = self.connect().execute(self._queries[query], parameters)
            return cursor.fetchall() if cursor.description is not None else []
        except psycopg.OperationalError:
            self.close()
            raise

    def prepare(self) -> None:
        """Have a connection; raises as ``connect``."""
        self.connect()

    @property
    def connected(self) -> bool:
        """Whether a connection is held."""
        return self._connection is not None

    def close(self) -> None:
        """Give the connection back; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close_if_idle(self, seconds: float) -> None:
        """Give the connection back if it was not used for ``seconds``."""
        if self._connection is not None and time.monotonic() - self._used > seconds:
            self.close()

    def abandon(self) -> None:
        """Forget the connection without writing to its socket: after a fork it is the parent's."""
        self._connection = None

    def connect(self) -> psycopg.Connection[Any]:
        """The open connection, made if there is none.

        Raises:
            psycopg.Error: the database is away, or its schema is not there.
            ProtocolError: this version is too old for the database.
        """
        if self._connection is None or self._connection.closed:
            connection = connect(self._url, row_factory=_plain_row)
            row = connection.execute(self._queries["read_instance"]).fetchone()
            if row is None or row[1] > PROTOCOL:
                connection.close()
                raise ProtocolError(
                    f"the database accepts writer protocol {row[1] if row else '?'} and newer, "
                    f"this process writes {PROTOCOL}; upgrade kodosumi-prefect"
                )
            self.instance = row[0]
            self._connection = connection
            self._used = time.monotonic()
        return self._connection

    def _transact(
        self, connection: psycopg.Connection[Any], batches: Sequence[Batch], one_by_one: bool
    ) -> list[str]:
        """Store a delivery; the ids of locks that are no longer open by it."""
        while True:
            ended: list[str] = []
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    for run in _runs(self._in_lock_order(cursor, batches)):
                        ended += self._append(cursor, run, one_by_one)
                return ended
            except _BookedMeanwhileError:
                continue

    def _transact_apart(
        self, connection: psycopg.Connection[Any], batches: Sequence[Batch]
    ) -> tuple[list[str], RefusedError | None]:
        """Store a delivery of which Postgres refuses something, each execution for itself.

        Returns:
            The ids of locks that are no longer open by it, and what is refused all the same.
        """
        named = [_tidied(batch) for batch in batches if _is_named(batch)]
        refused = [batch for batch in batches if not _is_named(batch)]
        reason = "its execution or writer is no UUID"
        try:
            ended = self._transact(connection, named, one_by_one=True)
        except _MAY_BE_DATA as exc:
            if not _is_about_data(exc):
                raise
            reason = _one_line(exc)
            ended, more = self._transact_reduced(connection, named)
            refused += more
        if not refused:
            return ended, None
        names = [(batch.fid, batch.writer, batch.number) for batch in refused]
        return ended, RefusedError(names, reason)

    def _transact_reduced(
        self, connection: psycopg.Connection[Any], batches: Sequence[Batch]
    ) -> tuple[list[str], list[Batch]]:
        """Store what Postgres accepts of each execution; returns what it refuses whole."""
        while True:
            ended: list[str] = []
            refused: list[Batch] = []
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    for run in _runs(self._in_lock_order(cursor, batches)):
                        over = self._append_reduced(cursor, run)
                        if over is None:
                            refused += run
                        else:
                            ended += over
                return ended, refused
            except _BookedMeanwhileError:
                continue

    def _append_reduced(self, cursor: psycopg.Cursor[Any], run: list[Batch]) -> list[str] | None:
        """As ``_append``, with as much of the run as Postgres accepts; None if that is nothing."""
        reason: Exception | None = None
        for reduced in (_whole, _without_meaning, _as_one_event, _emptied):
            try:
                with cursor.connection.transaction():
                    return self._append(cursor, reduced(run, reason), one_by_one=True)
            except _MAY_BE_DATA as exc:
                if not _is_about_data(exc):
                    raise
                reason = exc
        return None

    def _in_lock_order(
        self, cursor: psycopg.Cursor[Any], batches: Sequence[Batch]
    ) -> Sequence[Batch]:
        """Known executions by id, then unknown ones by fid: the same order in every process."""
        if len({batch.fid for batch in batches}) < 2:
            return batches
        cursor.execute(self._queries["find_executions"], {"fids": [batch.fid for batch in batches]})
        ids = dict(cursor.fetchall())

        def place(batch: Batch) -> tuple[Any, ...]:
            # Batches of one writer stay together, as they are stored as one.
            known = ids.get(batch.fid)
            return known is None, known or 0, batch.fid, batch.writer, batch.number

        return sorted(batches, key=place)

    def _append(self, cursor: psycopg.Cursor[Any], run: list[Batch], one_by_one: bool) -> list[str]:
        """Store batches of one writer and execution whose numbers follow each other.

        Returns:
            The ids of locks that are no longer open by them.
        """
        batch = run[0]
        names = {"fid": batch.fid, "writer": batch.writer}
        row = cursor.execute(self._queries["lock_execution"], names).fetchone()
        created = row is None
        if row is None:
            made = cursor.execute(self._queries["create_execution"], names).fetchone()
            created = made is not None
            row = cursor.execute(self._queries["lock_execution"], names).fetchone()
            assert row is not None
        execution, last_seq, *_, last_batch, closing, open_locks = row
        status, state_ts, attempt, ended_seq, state_type = row[2:7]
        run = [batch for batch in run if batch.number > last_batch]
        if not run:
            return []
        if run[0].number > last_batch + 1:
            raise GapError(run[0], last_batch)
        batch = _joined(run)
        if created:
            cursor.execute(self._queries["ensure_partitions"], {"id": execution})
        if created or any(event[KIND] == Kind.META for event in batch.events):
            self._describe(cursor, execution, batch, one_by_one)
        events = self._new_ones(cursor, execution, batch.events, closing)
        locks: dict[str, int] = {}
        if open_locks and any(event[KIND] in PROJECTED for event in events):
            locks = dict(cursor.execute(self._queries["open_locks"], {"id": execution}).fetchall())

        def beginning() -> Projection:
            held = OpenLocks(locks)
            return Projection(status, state_ts, attempt, ended_seq, state_type, held)

        projection = beginning()
        rows = _numbered(events, last_seq, projection)
        if one_by_one:
            rows = self._copy_bisecting(cursor, execution, rows)
            # Again, with the placeholders: what Postgres refused once it refuses in the row too.
            projection = beginning()
            for seq, event, _ in rows:
                if event[KIND] in PROJECTED:
                    projection.take(Event._make(event), seq)
        elif rows:
            self._copy(cursor, execution, rows)
        booked = cursor.execute(
            self._queries["finish_batch"],
            {
                "id": execution,
                "writer": batch.writer,
                "number": batch.number,
                "before": last_batch,
                "last_seq": last_seq + len(rows),
                "alive": batch.alive,
            },
        ).fetchone()
        if booked is None or booked[0] != 1:
            raise _BookedMeanwhileError
        if projection.changed:
            for lock in projection.locks.opened.values():
                if not self._beside(cursor, "open_lock", lock._asdict() | {"id": execution}):
                    projection.locks.forget(lock.lid)
            if projection.locks.ended:
                self._end_locks(cursor, execution, projection.locks)
            cursor.execute(self._queries["project"], projection.parameters() | {"id": execution})
        if projection.ended_seq is not None and projection.ended_seq > last_seq:
            self._beside(cursor, "purge_secrets", {"fid": batch.fid})
            self._beside(cursor, "forget_answers", {"id": execution})
        return list(projection.locks.ended)

    def _end_locks(self, cursor: psycopg.Cursor[Any], execution: int, locks: OpenLocks) -> None:
        names, states = list(locks.ended), list(locks.ended.values())
        values = {"id": execution, "lids": names, "states": states}
        cursor.execute(self._queries["end_locks"], values)

    def _describe(
        self, cursor: psycopg.Cursor[Any], execution: int, batch: Batch, one_by_one: bool
    ) -> None:
        header = bounded(batch.header)
        process = batch.header.get("process")
        # Only the process that runs the flow names itself, and it has the flow object.
        row = {"id": execution, "own": bool(process)}
        if one_by_one:
            self._describe_by_field(cursor, row, header)
        else:
            values = dict.fromkeys(DESCRIBED) | header | row
            cursor.execute(self._queries["describe_execution"], values)
        if process:
            values = {"id": execution, "process": orjson.dumps(process).decode()}
            if one_by_one:
                self._beside(cursor, "remember_process", values)
            else:
                cursor.execute(self._queries["remember_process"], values)
        if schedule := batch.header.get("schedule"):
            self._beside(cursor, "own_scheduled", {"id": execution, "schedule": schedule})

    def _describe_by_field(
        self, cursor: psycopg.Cursor[Any], row: dict[str, Any], header: dict[str, Any]
    ) -> None:
        """Fill what Postgres takes of a header; a placeholder stands in for a text it refuses."""
        empty = dict.fromkeys(DESCRIBED) | row
        for name in DESCRIBED:
            if (value := header.get(name)) is None:
                continue
            taken = self._beside(cursor, "describe_execution", empty | {name: value})
            if not taken and name in TEXTS:
                self._beside(cursor, "describe_execution", empty | {name: REFUSED})

    def _beside(self, cursor: psycopg.Cursor[Any], query: str, parameters: dict[str, Any]) -> bool:
        """Execute what an older schema, or a role with few rights, may lack; events go on.

        They go on as well where Postgres refuses a value.

        Returns:
            Whether it was executed.
        """
        try:
            with cursor.connection.transaction():
                cursor.execute(self._queries[query], parameters)
            return True
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as exc:
            logger.debug("%s: %s", query, exc)
        except psycopg.errors.InsufficientPrivilege as exc:
            logger.warning("%s: %s", query, " ".join(str(exc).split()))
        except _MAY_BE_DATA as exc:
            if not _is_about_data(exc):
                raise
            logger.warning("Postgres refused %s: %s", query, _one_line(exc))
        return False

    def _new_ones(
        self, cursor: psycopg.Cursor[Any], execution: int, events: list[Fields], closing: bool
    ) -> list[Fields]:
        if closing:  # a result or an error was recorded, and the end comes next
            events = [e for e in events if not (e[DEDUPE] or "").startswith(ASIDE)]
        keys = [event[DEDUPE] for event in events if event[DEDUPE] is not None]
        if not keys:
            return events
        if max(map(len, keys)) > LONGEST_KEY:
            events = [_with_short_key(event) for event in events]
            keys = [event[DEDUPE] for event in events if event[DEDUPE] is not None]
        cursor.execute(self._queries["mark_seen"], {"id": execution, "keys": keys})
        new = {key for (key,) in cursor.fetchall()}
        kept = []
        for event in events:
            if event[DEDUPE] is not None:
                if event[DEDUPE] not in new:
                    continue
                new.discard(event[DEDUPE])
            kept.append(event)
        return kept

    def _copy(self, cursor: psycopg.Cursor[Any], execution: int, rows: list[_Row]) -> None:
        with cursor.copy(self._queries["copy_events"]) as copy:
            # In parts, so that Postgres is at work while the next part is written out.
            for start in range(0, len(rows), COPY_ROWS):
                part = rows[start : start + COPY_ROWS]
                lines = [line(execution, seq, event, late) for seq, event, late in part]
                copy.write("".join(lines).encode())

    def _copy_bisecting(
        self, cursor: psycopg.Cursor[Any], execution: int, rows: list[_Row]
    ) -> list[_Row]:
        """Store what Postgres takes; a placeholder stands in for each event that it refuses.

        Returns:
            The rows as they were stored.
        """
        if not rows:
            return rows
        try:
            with cursor.connection.transaction():
                self._copy(cursor, execution, rows)
            return rows
        except _MAY_BE_DATA as exc:
            if not _is_about_data(exc):
                raise
            if len(rows) == 1:
                seq, event, late = rows[0]
                placed: list[_Row] = [(seq, _placeholder(Event._make(event), exc), late)]
                self._copy(cursor, execution, placed)
                return placed
            middle = len(rows) // 2
            return [
                *self._copy_bisecting(cursor, execution, rows[:middle]),
                *self._copy_bisecting(cursor, execution, rows[middle:]),
            ]


_MAY_BE_DATA = (
    psycopg.DataError,
    psycopg.InternalError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,  # a value of a type that has no place in Postgres
    psycopg.errors.ProgramLimitExceeded,
    ValueError,  # surrogates, a source that is no JSON
    TypeError,  # surrogates in a state's message
    OverflowError,  # a timestamp out of bounds
)


def _numbered(events: list[Fields], last_seq: int, projection: Projection) -> list[_Row]:
    """The events to store with their seq, and whether they came after the end."""
    rows: list[_Row] = []
    seq = last_seq
    for event in events:
        late = projection.ended_seq is not None
        if event[KIND] in PROJECTED:
            if not projection.take(Event._make(event), seq + 1):
                continue
            late = late and projection.ended_seq is not None
            late = late and projection.ended_seq != seq + 1
        seq += 1
        rows.append((seq, event, late))
        if event[KIND] in LOCKING and (said := projection.unsaid(Event._make(event))) is not None:
            seq += 1
            rows.append((seq, said, False))
    return rows


def _tidied(batch: Batch) -> Batch:
    """The batch with storable text wherever a placeholder could not tell what it stands for."""
    events: list[Fields] = []
    for event in map(Event._make, batch.events):
        state = event.state
        if state is not None:
            state = state._replace(
                name=clean(state.name),
                message=clean(state.message),
                ts=state.ts if 0 <= state.ts < LATEST_TS else time.time(),
            )
        note = clean(event.note) if event.note is not None else None
        dedupe = clean(event.dedupe) if event.dedupe is not None else None
        attempt = min(max(event.attempt, 0), LARGEST_INT)
        events.append(event._replace(state=state, note=note, dedupe=dedupe, attempt=attempt))
    return batch._replace(header=tidied(batch.header), events=events)


def _placeholder(event: Event, refused: Exception | None) -> Event:
    """What stands in for an event that Postgres refused: of its kind, with the reason."""
    text = PLACEHOLDER.format(size=len(event.payload), reason=_one_line(refused))
    return event._replace(
        ts=event.ts if 0 <= event.ts < LATEST_TS else time.time(),
        kind=escape(clean(event.kind)),
        payload=event.payload if event.payload in _STATUSES else text,
        source='{"refused":true}',
    )


_STATUSES = frozenset(Status)


def _runs(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Batches in their order, those together that follow each other and are stored as one."""
    runs: list[list[Batch]] = []
    for batch in batches:
        last = runs[-1][-1] if runs else None
        follows = last is not None and (last.fid, last.writer) == (batch.fid, batch.writer)
        if follows and last is not None and last.number + 1 == batch.number:
            runs[-1].append(batch)
        else:
            runs.append([batch])
    return runs


def _joined(run: list[Batch]) -> Batch:
    """A run as one batch that bears the last one's number."""
    last = run[-1]
    if len(run) == 1:
        return last
    said = [batch.alive for batch in run if batch.alive is not None]
    events = [event for batch in run for event in batch.events]
    return last._replace(events=events, alive=said[-1] if said else None)


def _plain_row(cursor: psycopg.Cursor[Any]) -> Any:
    return psycopg.rows.tuple_row(cursor)


def _is_about_data(exc: Exception) -> bool:
    """Whether a value is at fault, or more than a field can hold, and not the database."""
    if not isinstance(exc, psycopg.Error):
        return True
    state = exc.sqlstate
    if state is None:  # psycopg itself refuses it, unless it is about the connection
        return isinstance(exc, psycopg.DataError | psycopg.ProgrammingError)
    if state == "23514" and exc.diag.constraint_name is None:
        return False  # an event has no partition, which `db upgrade` or a restore has to mend
    return state[:2] in _OF_VALUES or state in ("XX000", "42804")


_OF_VALUES = ("22", "23", "54")  # data, integrity constraints, limits of the program


def _is_named(batch: Batch) -> bool:
    """Whether execution and writer are UUIDs, without which a batch has no place."""
    try:
        UUID(batch.fid)
        UUID(batch.writer)
    except (ValueError, AttributeError, TypeError):
        return False
    return True


def _with_short_key(event: Fields) -> Fields:
    key = event[DEDUPE]
    if key is None or len(key) <= LONGEST_KEY:
        return event
    return Event._make(event)._replace(dedupe=f"sha256:{sha256(key.encode()).hexdigest()}")


def _whole(run: list[Batch], refused: Exception | None) -> list[Batch]:
    return run


def _without_meaning(run: list[Batch], refused: Exception | None) -> list[Batch]:
    """The run with placeholders for what would change its execution's row."""
    reduced = []
    for batch in run:
        events = [
            _placeholder(Event._make(event), refused)._replace(kind=Kind.DEBUG, dedupe=None)
            if event[KIND] in PROJECTED
            else event
            for event in batch.events
        ]
        reduced.append(batch._replace(header=Header(), events=events))
    return reduced


def _as_one_event(run: list[Batch], refused: Exception | None) -> list[Batch]:
    """The run with one placeholder for all its events."""
    count = sum(len(batch.events) for batch in run)
    text = f"[{count:,} events that Postgres refused: {_one_line(refused)}]"
    event = Event(time.time(), Kind.STDERR, text, source='{"refused":true}')
    empty = _emptied(run, refused)
    return [*empty[:-1], empty[-1]._replace(events=[event] if count else [])]


def _emptied(run: list[Batch], refused: Exception | None) -> list[Batch]:
    """The run with nothing but its numbers, so that the ledger goes on."""
    return [batch._replace(header=Header(), events=[]) for batch in run]


def _one_line(exc: BaseException | None) -> str:
    lines = str(exc).splitlines() or [type(exc).__name__]
    return lines[0].encode("ascii", "replace").decode()
