"""The Spooler: makes batches of events durable and ordered, one transaction per delivery."""

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.spooler.batch import PROTOCOL, Batch
from kodosumi_prefect.spooler.placeholders import (
    MAY_BE_DATA,
    REDUCTIONS,
    is_about_data,
    is_named,
    one_line,
    tidied_batch,
)
from kodosumi_prefect.spooler.refused import RefusedError
from kodosumi_prefect.spooler.standing import Standing
from kodosumi_prefect.spooler.steps import execute
from kodosumi_prefect.spooler.storing import (
    BookedMeanwhileError,
    GapError,
    store_batches,
    wake_ups,
)


class ProtocolError(Exception):
    """The database no longer takes this version's batches; an upgraded process can deliver them."""


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

    def takes(self, fid: str) -> bool:
        """Any execution's."""
        return True

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
            except MAY_BE_DATA as exc:
                if not is_about_data(exc):
                    raise
                ended, refusal = self._transact_apart(connection, batches)
            fids = list(dict.fromkeys(batch.fid for batch in batches if batch.events))
            for parameters in wake_ups(self._queries.schema, fids, ended):
                connection.execute(self._queries["notify"], parameters)
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

    def standings(self, fids: Sequence[str]) -> dict[str, Standing]:
        """How executions stand against their budgets; none where the schema knows no budgets.

        Raises:
            psycopg.Error: the database is away.
        """
        try:
            rows = self.query("budget_standing", {"fids": list(fids)})
        except (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege):
            return {}
        return {fid: Standing(*standing) for fid, *standing in rows}

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
                        ended += execute(cursor, self._queries, store_batches(run, one_by_one))
                return ended
            except BookedMeanwhileError:
                continue

    def _transact_apart(
        self, connection: psycopg.Connection[Any], batches: Sequence[Batch]
    ) -> tuple[list[str], RefusedError | None]:
        """Store a delivery of which Postgres refuses something, each execution for itself.

        Returns:
            The ids of locks that are no longer open by it, and what is refused all the same.
        """
        named = [tidied_batch(batch) for batch in batches if is_named(batch)]
        refused = [batch for batch in batches if not is_named(batch)]
        reason = "its execution or writer is no UUID"
        try:
            ended = self._transact(connection, named, one_by_one=True)
        except MAY_BE_DATA as exc:
            if not is_about_data(exc):
                raise
            reason = one_line(exc)
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
            except BookedMeanwhileError:
                continue

    def _append_reduced(self, cursor: psycopg.Cursor[Any], run: list[Batch]) -> list[str] | None:
        """As ``store_batches``, with as much as Postgres accepts; None if that is nothing."""
        reason: Exception | None = None
        for reduced in REDUCTIONS:
            try:
                with cursor.connection.transaction():
                    steps = store_batches(reduced(run, reason), one_by_one=True)
                    return execute(cursor, self._queries, steps)
            except MAY_BE_DATA as exc:
                if not is_about_data(exc):
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


def _plain_row(cursor: psycopg.Cursor[Any]) -> Any:
    return psycopg.rows.tuple_row(cursor)
