"""Reading executions and their events back."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self, TypeVar

import psycopg
from psycopg.rows import AsyncRowFactory, TupleRow, class_row, dict_row, scalar_row, tuple_row

from kodosumi_prefect.database.connection import NoAnswerError
from kodosumi_prefect.database.pipelining import Pipelined, pipelined
from kodosumi_prefect.database.pool import Pool
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.stream.listing import EVERY, CursorError, Filter
from kodosumi_prefect.stream.rows import (
    ChangeCounter,
    ListPosition,
    LiveExecution,
    ModelUse,
    PagedEvent,
    SearchedWord,
    StoredExecution,
    StoredSpan,
    StreamTail,
)

PAGE = 1000  # events read at once
ALL = 2**31 - 1  # rows

R = TypeVar("R")  # a row


class StoredEvent(NamedTuple):
    """An event as it stands in the stream.

    Attributes:
        seq: 1 for an execution's first event, then without a gap.
        ts: seconds since the epoch when it was recorded.
        source: where it came from: ``task_run``, ``subflow``, ``node``, ``pid``; for a status
            also ``state``; ``late`` if the execution was over already; ``leg`` after the run was
            suspended, and ``replayed`` if the leg before had said it already.
    """

    seq: int
    ts: float
    kind: str
    payload: str
    attempt: int
    source: dict[str, Any] | None


def said_again(event: StoredEvent) -> bool:
    """Whether a run said it before it was suspended, and its code only ran again."""
    return bool((event.source or {}).get("replayed"))


class Origin(NamedTuple):
    """Which events are wanted by where they came from; None means any.

    Attributes:
        task_run: id or name of a Prefect task run.
        subflow: id or name of a subflow's run.
        node: the machine's name.
        pid: the process.
    """

    task_run: str | None = None
    subflow: str | None = None
    node: str | None = None
    pid: int | None = None


ANYWHERE = Origin()


class Visible(NamedTuple):
    """Which executions may be seen.

    Attributes:
        owner: whose; None for everybody's.
        unowned: also those that nobody owns.
    """

    owner: str | None = None
    unowned: bool = True


EVERYTHING = Visible()


class Page(NamedTuple):
    """Events behind a cursor; ``more``: whether reading on may return further ones."""

    events: list[StoredEvent]
    more: bool


class Tail(NamedTuple):
    """Where a stream stands: its last seq, and the seq it ended with if it is over."""

    last_seq: int
    ended_seq: int | None


class Reader:
    """Reads through a small pool of connections; an async context manager.

    Every method raises ``psycopg.OperationalError`` (or its subclass ``PoolTimeout``) when the
    database is away.

    Arguments:
        url: libpq URL.
        schema: where our tables are.
        connections: most connections held at once.
    """

    def __init__(self, url: str, schema: str, connections: int = 6) -> None:
        self.queries = Queries(schema)
        self._pool = Pool(url, connections)

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._pool.close()

    async def execute(self, name: str, /, **parameters: Any) -> int:
        """Execute the named query; how many rows it returned."""
        return len(await self._fetch(tuple_row, name, parameters))

    async def rows(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """As ``rows_of``, by the columns' names: for flows that were written for version 0.2."""
        return await self._fetch(dict_row, name, parameters)

    async def rows_of(self, row_type: type[R], name: str, /, **parameters: Any) -> list[R]:
        """All rows of the named query as ``row_type``, whose fields are the query's columns."""
        return await self._fetch(class_row(row_type), name, parameters)

    async def values(self, name: str, /, **parameters: Any) -> list[Any]:
        """As ``rows_of``, of each row the value of its first column."""
        return await self._fetch(scalar_row, name, parameters)

    async def _fetch(
        self, row_factory: AsyncRowFactory[R], name: str, parameters: dict[str, Any]
    ) -> list[R]:
        """Execute a query. A connection that went stale is tried once more."""
        for last_try in (False, True):
            async with self._pool.connection() as connection:
                try:
                    async with connection.cursor(row_factory=row_factory) as cursor:
                        await cursor.execute(self.queries[name], parameters)
                        return await cursor.fetchall()
                except psycopg.OperationalError as exc:
                    if last_try or isinstance(exc, NoAnswerError) or not connection.broken:
                        raise
            await self._pool.check()
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def pipelined(self) -> AsyncIterator[Pipelined]:
        """As ``transaction``, whose statements need not wait for each other's answers."""
        async with self._pool.connection() as connection, pipelined(connection) as transaction:
            yield transaction

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
        """A connection in a transaction, which is committed unless the block raises."""
        async with self._pool.connection() as connection, connection.transaction():
            yield connection

    async def status(self, fid: str, visible: Visible = EVERYTHING) -> StoredExecution | None:
        """The row of an execution, or None if there is no such execution to be seen."""
        rows = await self.rows_of(StoredExecution, "status", fid=fid, **visible._asdict())
        return rows[0] if rows else None

    async def tails(self, fids: Sequence[str]) -> dict[str, Tail]:
        """Where the streams of these executions stand; unknown ones are left out."""
        rows = await self.rows_of(StreamTail, "tail", fids=list(fids))
        return {row.fid: Tail(row.last_seq, row.ended_seq) for row in rows}

    async def page(
        self,
        fid: str,
        after: int = 0,
        *,
        until: int | None = None,
        kinds: Sequence[str] | None = None,
        origin: Origin = ANYWHERE,
        limit: int = PAGE,
    ) -> Page:
        """Events with ``after < seq <= until``, at most ``limit`` and about 8 MB of them.

        No index helps to find an ``origin``: whoever asks for one sets ``until`` not too far off.
        """
        rows = await self.rows_of(
            PagedEvent,
            "page",
            fid=fid,
            after=after,
            until=until,
            kinds=list(kinds) if kinds is not None else None,
            task_run=origin.task_run,
            subflow=origin.subflow,
            node=origin.node,
            pid=None if origin.pid is None else str(origin.pid),
            limit=limit,
        )
        count = rows[0].matches if rows else 0
        events = [
            StoredEvent(row.seq, row.ts, row.kind, row.payload, row.attempt, row.source)
            for row in rows
        ]
        return Page(events, count == limit or count > len(events))

    async def timeline(
        self,
        *,
        filter_: Filter = EVERY,
        before: str | None = None,
        after: str | None = None,
        limit: int = 10,
        visible: Visible = EVERYTHING,
    ) -> list[StoredExecution]:
        """Rows of executions that are not archived, newest first.

        Arguments:
            before: the last ``fid`` of the previous page.
            after: in its place the first ``fid`` of the page behind: those right above it.

        Raises:
            CursorError: there is no execution to be seen with the ``fid`` of the cursor.
        """
        position: dict[str, Any] = {"at": None, "id": None}
        cursor = after or before
        if cursor is not None:
            rows = await self.rows_of(
                ListPosition, "list_position", fid=cursor, **visible._asdict()
            )
            if not rows:
                raise CursorError(f"there is no execution {cursor} to continue from")
            position = {"at": rows[0].created_at, "id": rows[0].id}
        parameters = await self._filter_parameters(filter_, visible)
        name = "timeline_newer" if after else "timeline"
        return await self.rows_of(StoredExecution, name, **parameters, **position, limit=limit)

    async def count(self, filter_: Filter, visible: Visible = EVERYTHING, *, limit: int) -> int:
        """How many executions match that are not archived; ``limit`` if there are more."""
        parameters = await self._filter_parameters(filter_, visible)
        [executions] = await self.values("count_listed", **parameters, limit=limit)
        return int(executions)

    async def flow_names(self, visible: Visible = EVERYTHING, *, limit: int = 200) -> list[str]:
        """Names of flows with executions that may be seen, in alphabetical order."""
        return await self.values("listed_flows", **visible._asdict(), limit=limit)

    async def _filter_parameters(self, filter_: Filter, visible: Visible) -> dict[str, Any]:
        words = (
            await self.rows_of(SearchedWord, "asked_words", query=filter_.query)
            if filter_.query.strip()
            else []
        )
        return filter_.parameters(words) | visible._asdict()

    async def changes(
        self,
        since: int | None,
        *,
        limit: int = PAGE,
        visible: Visible = EVERYTHING,
    ) -> tuple[list[StoredExecution], int]:
        """Rows changed since a counter, and the counter to ask with the next time.

        The counter is Postgres's own transaction horizon: a change that commits late is in the
        answer after the commit, so none is missed; one may be seen twice. With ``since`` None,
        or one from another database's future, there are no rows, only the counter.
        """
        [counter] = await self.rows_of(ChangeCounter, "change_counter")
        if since is None or since > counter.xmax:
            return [], counter.xmin
        parameters = {"since": since, **visible._asdict()}
        rows = await self.rows_of(StoredExecution, "changes", **parameters, limit=limit)
        if len(rows) < limit:
            return rows, counter.xmin
        following = min(counter.xmin, rows[-1].changed + 1)
        if following <= since:
            # A long transaction holds the horizon back, so the next page would be this one again.
            return await self.rows_of(
                StoredExecution, "changes", **parameters, limit=ALL
            ), following
        return rows, following

    async def deleted(self, since: int | None, visible: Visible = EVERYTHING) -> list[str]:
        """Executions that retention deleted since a counter of ``changes``; kept for 7 days.

        Ask after ``changes``: what is deleted in between is then in both answers or in this one.
        """
        if since is None:
            return []
        return await self.values("deleted", since=since, **visible._asdict())

    async def matching(
        self, fids: Sequence[str], filter_: Filter, visible: Visible = EVERYTHING
    ) -> set[str]:
        """Which of these executions match and are not archived."""
        if not fids:
            return set()
        parameters = await self._filter_parameters(filter_, visible)
        return set(await self.values("matching", fids=list(fids), **parameters))

    async def latest(
        self,
        fid: str,
        before: int,
        *,
        kinds: Sequence[str],
        limit: int,
        task_run: str | None = None,
        subflow: str | None = None,
    ) -> list[StoredEvent]:
        """The newest events with ``seq < before``, at most ``limit`` and about 8 MB, in order."""
        return await self.rows_of(
            StoredEvent,
            "latest",
            fid=fid,
            before=before,
            kinds=list(kinds),
            limit=limit,
            task_run=task_run,
            subflow=subflow,
        )

    async def spans(
        self, fid: str, after: int = 0, limit: int = 5000, *, changed: int | None = None
    ) -> list[StoredSpan]:
        """Spans with ``first_seq > after``, in the order in which they were first heard of.

        Arguments:
            changed: a seq; only spans of which an event behind it says something.
        """
        parameters = {"after": after, "limit": limit, "changed": changed, "id": None}
        return await self.rows_of(StoredSpan, "spans_of", fid=fid, **parameters)

    async def span(self, fid: str, id_: str) -> StoredSpan | None:
        """One span of an execution; None if there is none of that id."""
        parameters = {"after": -1, "limit": 1, "changed": None, "id": id_}
        rows = await self.rows_of(StoredSpan, "spans_of", fid=fid, **parameters)
        return rows[0] if rows else None

    async def count_spans(self, fid: str) -> int:
        """How many spans an execution has."""
        [count] = await self.values("count_spans", fid=fid)
        return int(count)

    async def model_use(self, fid: str) -> list[ModelUse]:
        """What an execution took of each model, the dearest first."""
        return await self.rows_of(ModelUse, "model_use_of", fid=fid)

    async def live(
        self, timeout: float, *, after: int = 0, limit: int = PAGE
    ) -> list[LiveExecution]:
        """Executions that are not over, oldest first, behind the internal id ``after``.

        Arguments:
            timeout: seconds without a heartbeat after which ``stale`` is true.
        """
        return await self.rows_of(
            LiveExecution, "live_executions", timeout=timeout, after=after, limit=limit
        )

    async def suspended(
        self,
        timeout: float,
        *,
        after: int = 0,
        limit: int | None = None,
        fids: list[str] | None = None,
    ) -> list[LiveExecution]:
        """As ``live``, of executions that wait for people without a process.

        Arguments:
            fids: only these.
        """
        return await self.rows_of(
            LiveExecution,
            "suspended_executions",
            timeout=timeout,
            after=after,
            limit=limit,
            fids=fids,
        )
