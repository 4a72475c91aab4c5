"""A lock in a transaction, with its execution locked: nobody else changes either meanwhile."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row

from kodosumi_prefect.database.rows.locks import Lock, PersonAsked
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.locks.asking import OWNER
from kodosumi_prefect.spooler.steps import Steps, execute_async
from kodosumi_prefect.spooler.storing import LockedExecution, locking_of, store_said, wake_ups
from kodosumi_prefect.stream.reader import Reader

SCHEDULE = "schedule"  # the means by which the audit has what nobody did in person
LONGEST_HEADING = 400  # characters in the audit

R = TypeVar("R")


class UnknownLockError(LookupError):
    """There is no such lock."""


class Held:
    """A lock, and what is done about it in one transaction.

    Attributes:
        open_locks: the attempts of the execution's open locks by id.
        events: what is told in the run's stream at the transaction's end.
        settled: ids of locks that are no longer open by it; None while nothing is stored.
    """

    def __init__(
        self,
        reader: Reader,
        connection: psycopg.AsyncConnection[Any],
        execution: LockedExecution,
        lock: Lock,
        open_locks: dict[str, int],
    ) -> None:
        self._reader = reader
        self._connection = connection
        self.execution = execution
        self.lock = lock
        self.open_locks = open_locks
        self.events: list[Event] = []
        self.settled: list[str] | None = None

    async def rows_of(self, row_type: type[R], query: str, /, **parameters: Any) -> list[R]:
        """As ``Reader.rows_of``, in the transaction; of this lock unless that is given."""
        parameters = {"id": self.execution.id, "lid": self.lock.lid} | parameters
        async with self._connection.cursor(row_factory=class_row(row_type)) as cursor:
            await cursor.execute(self._reader.queries[query], parameters)
            return await cursor.fetchall()

    async def values(self, query: str, /, **parameters: Any) -> list[Any]:
        """Of each row the value of its first column; as ``rows_of``."""
        cursor = await self.execute(query, **parameters)
        return [row[0] for row in await cursor.fetchall()]

    async def execute(self, query: str, /, **parameters: Any) -> psycopg.AsyncCursor[Any]:
        """Execute a query whose rows need not be waited for; as ``rows_of``."""
        parameters = {"id": self.execution.id, "lid": self.lock.lid} | parameters
        return await self._connection.execute(self._reader.queries[query], parameters)

    async def store(self, steps: Steps[list[str]]) -> None:
        """Store events by these steps, once, and wake who waits for them after the commit."""
        assert self.settled is None  # what they know of the stream's end holds once
        self.settled = await execute_async(self._connection, self._reader.queries, steps)

    def tell(self, text: str, kind: Kind = Kind.DEBUG) -> None:
        """Have the run's stream say something about this question."""
        said = f"Question “{self.lock.heading}”: {text}"
        self.events.append(Event(time.time(), kind, said, self.lock.attempt))

    async def note(self, step: str, number: int = 0, **done: Any) -> None:
        """Note what was done, which nobody had done before."""
        nothing: dict[str, Any] = dict.fromkeys(("who", "who_name", "means"))
        nothing |= {"result": None, "visible_result": None, "recipients": [], "reached": []}
        values = nothing | {"step": step, "number": number} | done
        await self.execute("add_lock_step", **values)

    async def audit(self, action: str, **details: Any) -> None:
        """Record in the audit what the schedule of the lock had done.

        Arguments:
            action: as ``panel.audit.recorded_actions`` has it.
            details: a few plain values.
        """
        entry = {
            "action": action,
            "outcome": "ok",
            "means": SCHEDULE,
            "target_kind": "lock",
            "target_id": self.lock.lid,
            "target_name": self.lock.heading[:LONGEST_HEADING],
            "details": {"fid": self.lock.fid} | details,
        }
        await self.execute("add_audit", entries=json.dumps([entry]))

    async def people(self, names: Sequence[str]) -> tuple[list[PersonAsked], list[str]]:
        """Whom these names reach, each once, and which reach nobody: the owner then, if possible.

        Who has handed the question on is not among them.
        """
        found = await self.rows_of(
            PersonAsked, "people_asked", names=list(names), owner=self.lock.owner
        )
        nobody = [each.reference for each in found if each.id is None]
        handed_on = set(self.lock.handed_on)
        people = {each.id: each for each in found if each.id and each.id not in handed_on}
        if nobody and OWNER not in names:
            people |= {each.id: each for each in (await self.people([OWNER]))[0] if each.id}
        return list(people.values()), nobody


@asynccontextmanager
async def hold(
    reader: Reader, fid: str, lid: str, account: str | None = None
) -> AsyncIterator[Held]:
    """Lock an execution, and read one of its locks; commits unless the block raises.

    Arguments:
        account: whose right to answer ``lock.is_asked`` is.

    Raises:
        UnknownLockError: there is no such lock.
    """
    queries = reader.queries
    async with reader.pipelined() as transaction:
        connection = transaction.connection
        locking = await connection.execute(queries["lock_execution"], locking_of(fid))
        reading = connection.cursor(row_factory=class_row(Lock))
        await reading.execute(queries["lock"], {"fid": fid, "lid": lid, "account": account})
        opened = await connection.execute(queries["open_locks_of"], {"fid": fid})
        execution, lock = await locking.fetchone(), await reading.fetchone()
        if execution is None or lock is None:
            raise UnknownLockError(f"execution {fid} has no lock {lid[:80]!r}")
        locks = dict(await opened.fetchall())
        held = Held(reader, connection, LockedExecution._make(execution), lock, locks)
        yield held
        if held.events:
            await held.store(store_said(held.execution, fid, held.events, locks))
        if held.settled is not None:
            calls = wake_ups(queries.schema, [fid], held.settled)
            transaction.behind += [(queries["notify"], call) for call in calls]
