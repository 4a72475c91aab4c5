"""What a transaction does, decided without a connection, and two ways to do it.

A rule is a generator: it yields steps, gets the rows of each, and may catch what Postgres says of
one. So it stands once, for those who block and for those who await.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.rows import tuple_row

from kodosumi_prefect.database.pipelining import is_pipelined
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.spooler.rows import NumberedEvent, line, values

COPY_ROWS = 250  # rows sent at once


class Statement(NamedTuple):
    """A query of ``database/sql``.

    Attributes:
        apart: in a savepoint, so that the transaction goes on if Postgres refuses it.
        unread: it has no rows that anybody looks at, so that a pipeline need not wait for it.
    """

    query: str
    parameters: Mapping[str, Any]
    apart: bool = False
    unread: bool = False


class StoreEvents(NamedTuple):
    """Events to store of an execution, by its internal id; ``apart`` as in ``Statement``."""

    execution: int
    rows: Sequence[NumberedEvent]
    apart: bool = False

    def parts(self) -> Iterator[bytes]:
        """COPY's text, in parts, so that Postgres is at work while the next one is written out.

        Raises:
            ValueError: an event has no row, such as for its time.
        """
        for start in range(0, len(self.rows), COPY_ROWS):
            part = self.rows[start : start + COPY_ROWS]
            lines = [line(self.execution, seq, event, late) for seq, event, late in part]
            yield "".join(lines).encode()


Row = tuple[Any, ...]
Step = Statement | StoreEvents
T = TypeVar("T")
Steps = Generator[Step, list[Row], T]


def execute(cursor: psycopg.Cursor[Any], queries: Queries, steps: Steps[T]) -> T:
    """Do the steps in the transaction that ``cursor`` is in, and return what they return.

    Arguments:
        cursor: with rows that are tuples.
    """
    try:
        step = next(steps)
        while True:
            try:
                rows = _execute(cursor, queries, step)
            except Exception as exc:
                step = steps.throw(exc)
            else:
                step = steps.send(rows)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _execute(cursor: psycopg.Cursor[Any], queries: Queries, step: Step) -> list[Row]:
    if step.apart:
        with cursor.connection.transaction():
            return _execute(cursor, queries, step._replace(apart=False))
    if isinstance(step, StoreEvents):
        with cursor.copy(queries["copy_events"]) as copy:
            for part in step.parts():
                copy.write(part)
        return []
    cursor.execute(queries[step.query], step.parameters)
    return cursor.fetchall() if cursor.description is not None else []


async def execute_async(
    connection: psycopg.AsyncConnection[Any], queries: Queries, steps: Steps[T]
) -> T:
    """As ``execute``, for event loops; where the connection is in a pipeline, by that."""
    try:
        step = next(steps)
        while True:
            if step.apart and is_pipelined(connection):
                async with connection.pipeline() as pipeline:  # the one that is there
                    await pipeline.sync()  # or it would be blamed for those before it
            try:
                rows = await _execute_async(connection, queries, step)
            except Exception as exc:
                step = steps.throw(exc)
            else:
                step = steps.send(rows)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _execute_async(
    connection: psycopg.AsyncConnection[Any], queries: Queries, step: Step
) -> list[Row]:
    if step.apart:
        async with connection.transaction():
            return await _execute_async(connection, queries, step._replace(apart=False))
    if isinstance(step, StoreEvents):
        for seq, event, late in step.rows:  # one or two, for which COPY takes longer
            parameters = values(step.execution, seq, event, late)
            await connection.execute(queries["add_event"], parameters)
        return []
    # One each: a pipeline hands a cursor the rows of its earlier statements, too.
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(queries[step.query], step.parameters)
    if step.unread or not (is_pipelined(connection) or cursor.description is not None):
        return []
    return await cursor.fetchall()
