"""How events come into an execution's stream and row: the one set of rules for batches and answers.

Whoever executes these steps holds a transaction, which commits; behind it come ``wake_ups``.
"""

import json
import logging
from collections.abc import Sequence
from enum import Enum, auto
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
import psycopg

from kodosumi_prefect.database import channels
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.files.record import file_changes
from kodosumi_prefect.spans.record import Row, span_rows
from kodosumi_prefect.spooler.batch import DEDUPE, KIND, Batch, Fields
from kodosumi_prefect.spooler.header import DESCRIBED, REFUSED, TEXTS, bounded
from kodosumi_prefect.spooler.open_locks import Answer, OpenLocks
from kodosumi_prefect.spooler.placeholders import MAY_BE_DATA, is_about_data, one_line, placeholder
from kodosumi_prefect.spooler.projection import LOCKING, PROJECTED, Projection
from kodosumi_prefect.spooler.replayed import is_replayed, leg_of, marked
from kodosumi_prefect.spooler.rows import NumberedEvent
from kodosumi_prefect.spooler.steps import Statement, Steps, StoreEvents
from kodosumi_prefect.vocabulary import ASIDE

SOURCE = Event._fields.index("source")
LONGEST_KEY = 500  # characters of a dedupe key that is stored as it is
NOBODY = "00000000-0000-0000-0000-000000000000"  # no writer has this id

logger = logging.getLogger(__name__)


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


class BookedMeanwhileError(Exception):
    """Another delivery of the same batch got there first; what it stored counts."""


class LockedExecution(NamedTuple):
    """An execution's row, locked, as far as the next event depends on it.

    Attributes:
        state_ts: seconds since the epoch.
        last_batch: of the writer who locked it.
        closing: a result or an error was recorded, and the end comes next.
        open_locks: how many locks are open.
    """

    id: int
    last_seq: int
    status: str
    state_ts: float | None
    attempt: int
    ended_seq: int | None
    state_type: str | None
    last_batch: int
    closing: bool
    open_locks: int
    state_name: str | None

    def projection(self, locks: dict[str, int]) -> Projection:
        """What is known before the next event; ``locks`` are the attempts of open ones by id."""
        return Projection(
            self.status,
            self.state_ts,
            self.attempt,
            self.ended_seq,
            self.state_type,
            OpenLocks(locks),
            self.state_name,
        )


def locking_of(fid: str, writer: str = NOBODY) -> dict[str, Any]:
    """The parameters of ``lock_execution``, whose row is a ``LockedExecution``."""
    return {"fid": fid, "writer": writer}


def lock_execution(fid: str, writer: str = NOBODY) -> Steps[LockedExecution | None]:
    """Lock an execution's row until the transaction ends; None if there is none."""
    rows = yield Statement("lock_execution", locking_of(fid, writer))
    return LockedExecution._make(rows[0]) if rows else None


def store_batches(run: list[Batch], one_by_one: bool) -> Steps[list[str]]:
    """Store batches of one writer and execution whose numbers follow each other.

    Arguments:
        one_by_one: a placeholder takes the place of each event, and of each text of the header,
            that Postgres refuses; otherwise its error is raised.

    Returns:
        The ids of locks that are no longer open by them.

    Raises:
        GapError: the database expects an earlier batch.
        BookedMeanwhileError: roll back, and store them again.
    """
    batch = run[0]
    execution = yield from lock_execution(batch.fid, batch.writer)
    created = False
    if execution is None:
        rows = yield Statement("create_execution", {"fid": batch.fid, "writer": batch.writer})
        created = bool(rows)
        execution = yield from lock_execution(batch.fid, batch.writer)
        assert execution is not None
    last_batch = execution.last_batch
    run = [batch for batch in run if batch.number > last_batch]
    if not run:
        return []
    if run[0].number > last_batch + 1:
        raise GapError(run[0], last_batch)
    batch = _joined(run)
    if created:
        yield Statement("ensure_partitions", {"id": execution.id})
    if created or any(event[KIND] == Kind.META for event in batch.events):
        yield from _describe(execution.id, batch, one_by_one)
    events = yield from _new_ones(execution, batch.events)
    events = yield from marked(execution.id, events)
    locks: dict[str, int] = {}
    if execution.open_locks and any(event[KIND] in PROJECTED for event in events):
        locks = yield from _open_locks(execution)
    projection = execution.projection(locks)
    rows = _numbered(events, execution.last_seq, projection)
    if one_by_one:
        rows = yield from _copy_bisecting(execution.id, rows)
        # Again, with the placeholders: what Postgres refused once it refuses in the row too.
        projection = execution.projection(locks)
        for seq, event, _ in rows:
            if event[KIND] in PROJECTED:
                projection.take(Event._make(event), seq)
    elif rows:
        yield StoreEvents(execution.id, rows)
    booked = yield Statement(
        "finish_batch",
        {
            "id": execution.id,
            "writer": batch.writer,
            "number": batch.number,
            "before": last_batch,
            "last_seq": execution.last_seq + len(rows),
            "alive": batch.alive,
        },
    )
    if not booked or booked[0][0] != 1:
        raise BookedMeanwhileError
    return (yield from _project(execution, batch.fid, projection))


def store_answer(
    execution: LockedExecution,
    fid: str,
    lid: str,
    answer: Answer,
    lease: Event,
    open_locks: dict[str, int],
) -> Steps[list[str]]:
    """Store a human's answer to a lock that is open.

    Arguments:
        lease: the event that tells of it.
        open_locks: the attempts of the execution's open locks by id.

    Returns:
        As ``store_batches``.
    """
    projection = execution.projection(open_locks)
    projection.answer(lid, answer)
    rows = _numbered([lease], execution.last_seq, projection)
    yield StoreEvents(execution.id, rows)
    yield _advanced(execution, len(rows))
    return (yield from _project(execution, fid, projection))


def store_said(
    execution: LockedExecution, fid: str, events: Sequence[Event], open_locks: dict[str, int]
) -> Steps[list[str]]:
    """Store events of an execution that no run of it reports, such as that a lock expired.

    Arguments:
        open_locks: as for ``store_answer``.

    Returns:
        As ``store_batches``.
    """
    projection = execution.projection(open_locks)
    rows = _numbered(list(events), execution.last_seq, projection)
    if not rows:
        return []
    yield StoreEvents(execution.id, rows)
    yield _advanced(execution, len(rows))
    return (yield from _project(execution, fid, projection))


def _advanced(execution: LockedExecution, events: int) -> Statement:
    parameters = {"id": execution.id, "last_seq": execution.last_seq + events}
    return Statement("advance", parameters, unread=True)


def wake_ups(schema: str, fids: Sequence[str], lids: Sequence[str]) -> list[dict[str, Any]]:
    """Parameters of ``notify`` for what was committed, each a transaction of its own.

    A transaction with a pending NOTIFY would take an instance-wide lock through its commit.

    Arguments:
        fids: executions with new events.
        lids: locks that are no longer open, whose runs wait: they come first.
    """
    wakened = ((channels.settled_locks(schema), lids), (channels.events(schema), fids))
    return [{"channel": channel, "fids": list(names)} for channel, names in wakened if names]


def _open_locks(execution: LockedExecution) -> Steps[dict[str, int]]:
    return dict((yield Statement("open_locks", {"id": execution.id})))


def _project(execution: LockedExecution, fid: str, projection: Projection) -> Steps[list[str]]:
    """Carry what stored events mean into the rows of the execution and its locks."""
    locks = projection.locks
    if projection.changed:
        for lock in locks.opened.values():
            if not (yield from _beside("open_lock", lock._asdict() | {"id": execution.id})):
                locks.forget(lock.lid)
            elif lock.people is not None and lock.state == "open":
                values = lock.people._asdict() | {"id": execution.id, "lid": lock.lid}
                yield from _beside("ask_lock", values)
        for lid, answer in locks.answers.items():
            values = answer._asdict() | {"id": execution.id, "lid": lid}
            yield Statement("lease_lock", values, unread=True)
        if over := {lid: end for lid, end in locks.ended.items() if lid not in locks.answers}:
            values = {"id": execution.id, "lids": list(over), "states": list(over.values())}
            yield Statement("end_locks", values, unread=True)
        yield Statement("project", projection.parameters() | {"id": execution.id}, unread=True)
        yield from _project_files(execution.id, fid, projection.uploads)
    if projection.spans:
        yield from _project_spans(execution.id, span_rows(projection.spans))
        yield from _project_legs(execution.id, projection.spans)
    if projection.ended_seq is not None and projection.ended_seq > execution.last_seq:
        yield from _beside("purge_secrets", {"fid": fid})
        yield from _beside("forget_answers", {"id": execution.id})
        yield from _beside("forget_given_answers", {"id": execution.id})
        yield from _beside("forget_results", {"id": execution.id})
    return list(locks.ended)


def _project_files(execution: int, fid: str, uploads: Sequence[Event]) -> Steps[None]:
    """Carry what events say of files into their table; what Postgres refuses of it is left out."""
    changes = file_changes(uploads, fid)
    removed = yield from _rows_beside("drop_files", execution, "files", changes.removed)
    stored = yield from _rows_beside("put_files", execution, "files", changes.stored)
    if removed or stored:
        yield Statement("count_files", {"id": execution})


def _project_spans(execution: int, rows: Sequence[Row]) -> Steps[None]:
    """Carry what events say of spans into their table, of which triggers make the totals."""
    if written := [row for row in rows if "written_tokens" in row]:
        yield from _rows_beside("put_written_tokens", execution, "spans", written)
    taken = yield from _rows_beside("put_spans", execution, "spans", rows)
    if not taken:
        return
    quoted = ",".join([f'"{row["id"]}"' for row in taken])  # ids have nothing to escape
    ids = f"{{{quoted}}}"
    for query in ("part_span_cycles", "count_usage_once", "count_responses_once"):
        yield from _beside(query, {"id": execution, "ids": ids})


def _project_legs(execution: int, spans: Sequence[tuple[int, Fields]]) -> Steps[None]:
    """Mark spans of later legs, and model calls that such a leg makes again."""
    legs: dict[int, set[str]] = {}
    for _, event in spans:
        if leg := leg_of(event[SOURCE]):
            legs.setdefault(leg, set()).update(row["id"] for row in span_rows([(0, event)]))
    for leg, ids in legs.items():
        row = {"id": execution, "leg": leg, "ids": sorted(ids)}
        yield from _beside("mark_legs", row)
        yield from _beside("mark_calls_again", row)


def _rows_beside(query: str, execution: int, name: str, rows: Sequence[Row]) -> Steps[list[Row]]:
    """As ``_beside``, of rows in one statement; those that Postgres refuses are left out.

    Arguments:
        name: of the query's parameter with the rows.

    Returns:
        The rows that were taken: none where the schema lacks their table.
    """
    if not rows:
        return []
    outcome = yield from _tried(query, {"id": execution, name: _json(rows)})
    if outcome is Outcome.DONE:
        return list(rows)
    if outcome is Outcome.IMPOSSIBLE or len(rows) == 1:
        return []
    middle = len(rows) // 2
    first = yield from _rows_beside(query, execution, name, rows[:middle])
    return [*first, *(yield from _rows_beside(query, execution, name, rows[middle:]))]


def _json(rows: Sequence[Row]) -> str:
    try:
        return orjson.dumps(rows).decode()
    except TypeError:  # a lone surrogate: Postgres says what it thinks of it
        return json.dumps(rows)


def _describe(execution: int, batch: Batch, one_by_one: bool) -> Steps[None]:
    header = bounded(batch.header)
    process = batch.header.get("process")
    # Only the process that runs the flow names itself, and it has the flow object.
    row = {"id": execution, "own": bool(process)}
    if one_by_one:
        yield from _describe_by_field(row, header)
    else:
        yield Statement("describe_execution", dict.fromkeys(DESCRIBED) | header | row)
    if process:
        values = {"id": execution, "process": orjson.dumps(process).decode()}
        if one_by_one:
            yield from _beside("remember_process", values)
        else:
            yield Statement("remember_process", values)
        yield from _beside("goes_on", {"id": execution})
    if schedule := batch.header.get("schedule"):
        yield from _beside("own_scheduled", {"id": execution, "schedule": schedule})
    if name := batch.header.get("run_name"):
        yield from _beside("name_run", {"id": execution, "name": name})


def _describe_by_field(row: dict[str, Any], header: dict[str, Any]) -> Steps[None]:
    """Fill what Postgres takes of a header; a placeholder stands in for a text it refuses."""
    empty = dict.fromkeys(DESCRIBED) | row
    for name in DESCRIBED:
        if (value := header.get(name)) is None:
            continue
        taken = yield from _beside("describe_execution", empty | {name: value})
        if not taken and name in TEXTS:
            yield from _beside("describe_execution", empty | {name: REFUSED})


class Outcome(Enum):
    """What came of a statement that events do not depend on."""

    DONE = auto()
    REFUSED = auto()  # a value
    IMPOSSIBLE = auto()  # with any value: an older schema, or a role with few rights


def _beside(query: str, parameters: dict[str, Any]) -> Steps[bool]:
    """Execute what an older schema, or a role with few rights, may lack; events go on.

    They go on as well where Postgres refuses a value.

    Returns:
        Whether it was executed.
    """
    return (yield from _tried(query, parameters)) is Outcome.DONE


def _tried(query: str, parameters: dict[str, Any]) -> Steps[Outcome]:
    """As ``_beside``; what came of it."""
    try:
        yield Statement(query, parameters, apart=True)
        return Outcome.DONE
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as exc:
        logger.debug("%s: %s", query, exc)
        return Outcome.IMPOSSIBLE
    except psycopg.errors.InsufficientPrivilege as exc:
        logger.warning("%s: %s", query, " ".join(str(exc).split()))
        return Outcome.IMPOSSIBLE
    except MAY_BE_DATA as exc:
        if not is_about_data(exc):
            raise
        logger.warning("Postgres refused %s: %s", query, one_line(exc))
        return Outcome.REFUSED


def _new_ones(execution: LockedExecution, events: list[Fields]) -> Steps[list[Fields]]:
    if execution.closing:
        events = [e for e in events if not (e[DEDUPE] or "").startswith(ASIDE)]
    keys = [event[DEDUPE] for event in events if event[DEDUPE] is not None]
    if not keys:
        return events
    if max(map(len, keys)) > LONGEST_KEY:
        events = [_with_short_key(event) for event in events]
        keys = [event[DEDUPE] for event in events if event[DEDUPE] is not None]
    rows = yield Statement("mark_seen", {"id": execution.id, "keys": keys})
    new = {key for (key,) in rows}
    once = []
    for event in events:
        if event[DEDUPE] is not None:
            if event[DEDUPE] not in new:
                continue
            new.discard(event[DEDUPE])
        once.append(event)
    return once


def _with_short_key(event: Fields) -> Fields:
    key = event[DEDUPE]
    if key is None or len(key) <= LONGEST_KEY:
        return event
    return Event._make(event)._replace(dedupe=f"sha256:{sha256(key.encode()).hexdigest()}")


def _numbered(events: list[Fields], last_seq: int, projection: Projection) -> list[NumberedEvent]:
    """The events to store with their seq, and whether they came after the end."""
    rows: list[NumberedEvent] = []
    seq = last_seq
    for event in events:
        late = projection.ended_seq is not None
        kind = event[KIND]
        if kind == Kind.SPAN:  # there may be many, and nothing else depends on them
            projection.spans.append((seq + 1, event))
        elif kind in PROJECTED and not (kind == Kind.PROGRESS and is_replayed(event)):
            if not projection.take(Event._make(event), seq + 1):
                continue
            late = late and projection.ended_seq is not None
            late = late and projection.ended_seq != seq + 1
        seq += 1
        rows.append((seq, event, late))
        if kind in LOCKING and (unsaid := projection.unsaid(Event._make(event))) is not None:
            seq += 1
            rows.append((seq, unsaid, False))
    return rows


def _copy_bisecting(execution: int, rows: list[NumberedEvent]) -> Steps[list[NumberedEvent]]:
    """Store what Postgres takes; a placeholder stands in for each event that it refuses.

    Returns:
        The rows as they were stored.
    """
    if not rows:
        return rows
    try:
        yield StoreEvents(execution, rows, apart=True)
        return rows
    except MAY_BE_DATA as exc:
        if not is_about_data(exc):
            raise
        if len(rows) == 1:
            seq, event, late = rows[0]
            placed: list[NumberedEvent] = [(seq, placeholder(Event._make(event), exc), late)]
            yield StoreEvents(execution, placed)
            return placed
        middle = len(rows) // 2
        first = yield from _copy_bisecting(execution, rows[:middle])
        return [*first, *(yield from _copy_bisecting(execution, rows[middle:]))]


def _joined(run: list[Batch]) -> Batch:
    """A run as one batch that bears the last one's number."""
    last = run[-1]
    if len(run) == 1:
        return last
    alive = [batch.alive for batch in run if batch.alive is not None]
    events = [event for batch in run for event in batch.events]
    return last._replace(events=events, alive=alive[-1] if alive else None)
