"""What stands in for events that Postgres refuses, and which errors mean that it does."""

import time
from collections.abc import Callable
from uuid import UUID

import psycopg

from kodosumi_prefect.events import Event, Kind, Status, clean
from kodosumi_prefect.spooler.batch import KIND, Batch, Fields, Header
from kodosumi_prefect.spooler.header import tidied
from kodosumi_prefect.spooler.projection import PROJECTED
from kodosumi_prefect.spooler.rows import LATEST_TS, escape

PLACEHOLDER = "[an event of {size:,} characters that Postgres refused: {reason}]"
LARGEST_INT = 2**31 - 1  # that an integer column holds

MAY_BE_DATA = (
    psycopg.DataError,
    psycopg.InternalError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,  # a value of a type that has no place in Postgres
    psycopg.errors.ProgramLimitExceeded,
    ValueError,  # surrogates, a source that is no JSON
    TypeError,  # surrogates in a state's message
    OverflowError,  # a timestamp out of bounds
)


def is_about_data(exc: Exception) -> bool:
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


def is_named(batch: Batch) -> bool:
    """Whether execution and writer are UUIDs, without which a batch has no place."""
    try:
        UUID(batch.fid)
        UUID(batch.writer)
    except (ValueError, AttributeError, TypeError):
        return False
    return True


def tidied_batch(batch: Batch) -> Batch:
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


def placeholder(event: Event, refused: Exception | None) -> Event:
    """What stands in for an event that Postgres refused: of its kind, with the reason."""
    text = PLACEHOLDER.format(size=len(event.payload), reason=one_line(refused))
    return event._replace(
        ts=event.ts if 0 <= event.ts < LATEST_TS else time.time(),
        kind=escape(clean(event.kind)),
        payload=event.payload if event.payload in _STATUSES else text,
        source='{"refused":true}',
    )


_STATUSES = frozenset(Status)


def _whole(run: list[Batch], refused: Exception | None) -> list[Batch]:
    return run


def _without_meaning(run: list[Batch], refused: Exception | None) -> list[Batch]:
    """The run with placeholders for what would change its execution's row."""
    reduced = []
    for batch in run:
        events = [
            placeholder(Event._make(event), refused)._replace(kind=Kind.DEBUG, dedupe=None)
            if event[KIND] in PROJECTED
            else event
            for event in batch.events
        ]
        reduced.append(batch._replace(header=Header(), events=events))
    return reduced


def _as_one_event(run: list[Batch], refused: Exception | None) -> list[Batch]:
    """The run with one placeholder for all its events."""
    count = sum(len(batch.events) for batch in run)
    text = f"[{count:,} events that Postgres refused: {one_line(refused)}]"
    event = Event(time.time(), Kind.STDERR, text, source='{"refused":true}')
    empty = _emptied(run, refused)
    return [*empty[:-1], empty[-1]._replace(events=[event] if count else [])]


def _emptied(run: list[Batch], refused: Exception | None) -> list[Batch]:
    """The run with nothing but its numbers, so that the ledger goes on."""
    return [batch._replace(header=Header(), events=[]) for batch in run]


REDUCTIONS: tuple[Callable[[list[Batch], Exception | None], list[Batch]], ...] = (
    _whole,
    _without_meaning,
    _as_one_event,
    _emptied,
)  # what is tried of a run, the fullest first


def one_line(exc: BaseException | None) -> str:
    lines = str(exc).splitlines() or [type(exc).__name__]
    return lines[0].encode("ascii", "replace").decode()
