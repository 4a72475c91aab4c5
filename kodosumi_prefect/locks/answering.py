"""Locks for those who answer them: which are open, and answering one, once."""

import json
import time
from typing import Any

from psycopg.rows import class_row

from kodosumi_prefect.database.rows.locks import Lock, LockId, LockQuestion
from kodosumi_prefect.events import Event, Kind, serialize
from kodosumi_prefect.spooler.open_locks import Answer
from kodosumi_prefect.spooler.steps import execute_async
from kodosumi_prefect.spooler.storing import lock_execution, store_answer, wake_ups
from kodosumi_prefect.stream.reader import Reader


class UnknownLockError(LookupError):
    """There is no such lock."""


class AnsweredError(Exception):
    """The lock is no longer open: somebody else was faster, or nobody waits for it.

    Attributes:
        answered: somebody was faster.
    """

    def __init__(self, lock: Lock, reason: str) -> None:
        super().__init__(reason)
        self.answered = was_answered(lock)


class Locks:
    """Reads and answers locks.

    Arguments:
        reader: connections to the database.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, fid: str, lid: str) -> Lock:
        """The lock, open or not.

        Raises:
            UnknownLockError: there is none.
        """
        locks = await self._reader.rows_of(Lock, "lock", fid=fid, lid=lid)
        if not locks:
            raise UnknownLockError(f"execution {fid} has no lock {lid[:80]!r}")
        return locks[0]

    async def open(
        self, *, owner: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[LockQuestion]:
        """Open locks, newest first.

        Arguments:
            owner: only of this role's executions; None means all.
            before: the last ``lid`` of the page before.
        """
        return await self._reader.rows_of(
            LockQuestion, "answerable_locks", owner=owner, before=before, limit=limit
        )

    async def count(self, owner: str | None = None) -> int:
        """How many locks are open; ``owner`` as in ``open``."""
        [locks] = await self._reader.values("count_answerable_locks", owner=owner)
        return int(locks)

    async def ids(self, owner: str | None, limit: int) -> list[tuple[str, str]]:
        """``fid`` and ``lid`` of the newest open locks; ``owner`` as in ``open``."""
        locks = await self._reader.rows_of(LockId, "answerable_lock_ids", owner=owner, limit=limit)
        return [(lock.fid, lock.lid) for lock in locks]

    async def answer(
        self,
        fid: str,
        lid: str,
        result: Any,
        *,
        by: str,
        name: str | None = None,
        visible_result: Any = None,
        stored: str | None = None,
    ) -> None:
        """Answer an open lock: whoever waits for it continues with ``result``.

        One transaction: the row's end, its ``lease`` event, and the execution's status, as
        ``spooler.storing`` has them for every event.

        Arguments:
            result: what the run gets; JSON types.
            by: id of the role that answers.
            name: what people call it.
            visible_result: what the ``lease`` event contains instead of ``result``.
            stored: text kept for the run instead of ``result`` as JSON.

        Raises:
            UnknownLockError: there is no such lock.
            AnsweredError: it is no longer open, with the reason.
        """
        text = json.dumps(result) if stored is None else stored
        source = json.dumps({"answered_by": {"id": by, "name": name}})
        queries = self._reader.queries
        async with self._reader.transaction() as connection:
            execution = await execute_async(connection, queries, lock_execution(fid))
            async with connection.cursor(row_factory=class_row(Lock)) as cursor:
                await cursor.execute(queries["lock"], {"fid": fid, "lid": lid})
                lock = await cursor.fetchone()
            if execution is None or lock is None:
                raise UnknownLockError(f"execution {fid} has no lock {lid[:80]!r}")
            if (reason := closed(lock)) is not None:
                raise AnsweredError(lock, reason)
            payload = {
                "name": lock.name,
                "lid": lid,
                "result": result if visible_result is None else visible_result,
            }
            lease = Event(time.time(), Kind.LEASE, serialize(payload), lock.attempt, source)
            steps = store_answer(execution, fid, lid, Answer(text, by), lease)
            settled = await execute_async(connection, queries, steps)
        for parameters in wake_ups(queries.schema, [fid], settled):
            await self._reader.execute("notify", **parameters)


def was_answered(lock: Lock) -> bool:
    """Whether somebody has answered it."""
    return lock.state == "leased"


def closed(lock: Lock) -> str | None:
    """Why a lock cannot be answered, in one line; None if it can."""
    name = f"lock {lock.name!r}"
    if was_answered(lock):
        return f"{name} was answered already"
    if lock.status in ("finished", "error"):
        return f"{name} is of a run that is over"
    if lock.state == "expired" or (lock.state == "open" and lock.over):
        return f"{name} has expired; the run no longer waits for it"
    if lock.state == "void" or lock.superseded:
        return f"{name} is void; the run no longer waits for it"
    return None
