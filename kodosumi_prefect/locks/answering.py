"""Locks for those who answer them: which are open, and answering one, once."""

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from kodosumi_prefect.database.rows.locks import GivenAnswer, Lock, LockId, LockQuestion
from kodosumi_prefect.events import Event, Kind, serialize
from kodosumi_prefect.locks.held import UnknownLockError, hold
from kodosumi_prefect.locks.sealing import sealed, unsealed
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.spooler.open_locks import Answer
from kodosumi_prefect.spooler.storing import store_answer
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import SEALED


class AnsweredError(Exception):
    """The lock is no longer open: somebody else was faster, or nobody waits for it.

    Attributes:
        answered: somebody was faster.
    """

    def __init__(self, lock: Lock, reason: str) -> None:
        super().__init__(reason)
        self.answered = was_answered(lock)


class RepeatedAnswerError(AnsweredError):
    """The same person answers once more a lock that needs several people."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(lock, f"lock {lock.name!r} has your answer already, and needs others'")
        self.answered = True


class NotAskedError(Exception):
    """Somebody else is asked."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(refusal(lock))


class SpentLinkError(Exception):
    """A link was used or revoked."""


class Given(NamedTuple):
    """How many answers a lock has, of how many that it needs."""

    answers: int
    quorum: int

    @property
    def complete(self) -> bool:
        """Whether its run continues."""
        return self.answers >= self.quorum


ONE = Given(1, 1)


class Locks:
    """Reads and answers locks.

    Arguments:
        reader: connections to the database.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, fid: str, lid: str, account: str | None = None) -> Lock:
        """The lock, open or not; whether ``account`` is asked.

        Raises:
            UnknownLockError: there is none.
        """
        locks = await self._reader.rows_of(Lock, "lock", fid=fid, lid=lid, account=account)
        if not locks:
            raise UnknownLockError(f"execution {fid} has no lock {lid[:80]!r}")
        return locks[0]

    async def open(
        self, *, account: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[LockQuestion]:
        """Open locks, newest first.

        Arguments:
            account: only those that this one is asked, and has not answered; None means all.
            before: the last ``lid`` of the page before.
        """
        return await self._reader.rows_of(
            LockQuestion, "answerable_locks", account=account, before=before, limit=limit
        )

    async def count(self, account: str | None = None) -> int:
        """How many locks are open; ``account`` as in ``open``."""
        [locks] = await self._reader.values("count_answerable_locks", account=account)
        return int(locks)

    async def ids(self, account: str | None, limit: int) -> list[tuple[str, str]]:
        """``fid`` and ``lid`` of the newest open locks; ``account`` as in ``open``."""
        locks = await self._reader.rows_of(
            LockId, "answerable_lock_ids", account=account, limit=limit
        )
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
        means: str | None = None,
        asked_only: bool = False,
        link: str | None = None,
        settings: Settings | None = None,
    ) -> Given:
        """Answer an open lock: whoever waits for it continues with ``result``.

        Of a lock that needs several answers each is kept, and the run continues with the list of
        them once they are enough; one person counts once.

        One transaction: the row's end, its ``lease`` event, and the execution's status, as
        ``spooler.storing`` has them for every event.

        Arguments:
            result: what the run gets; JSON types.
            by: id of the role that answers.
            name: what people call it.
            visible_result: what the ``lease`` event contains instead of ``result``.
            stored: text kept for the run instead of ``result`` as JSON.
            means: how: ``session``, ``key``, ``proxy`` or ``link``.
            asked_only: refuse who is not asked.
            link: the hash of a link that this uses up.
            settings: whose keys encrypt what several people answered; default those in force.

        Raises:
            UnknownLockError: there is no such lock.
            AnsweredError: it is no longer open, with the reason.
            NotAskedError: somebody else is asked, by now.
            SpentLinkError: the link was used or revoked.
            NoKeyError: answers are encrypted, and there is no secret key.
        """
        text = json.dumps(result) if stored is None else stored
        visible = result if visible_result is None else visible_result
        async with hold(self._reader, fid, lid, by) as held:
            lock = held.lock
            if (reason := closed(lock)) is not None:
                raise AnsweredError(lock, reason)
            if link is not None and not await held.values("use_lock_link", hash=link):
                raise SpentLinkError("this link was used or revoked")
            if asked_only and not lock.is_asked:
                raise NotAskedError(lock)
            several = lock.quorum > 1
            noted: dict[str, Any] = {"who": by, "who_name": name, "means": means}
            if several:
                noted |= {"result": text, "visible_result": json.dumps(visible)}
            if lock.has_answered:
                raise RepeatedAnswerError(lock)
            await held.note("answered", **noted)
            source: dict[str, Any] = {"answered_by": {"id": by, "name": name}}
            if means == "link":
                source["answered_by"]["means"] = means
            if several:
                given = await held.rows_of(GivenAnswer, "answers_of_lock")
                if len(given) < lock.quorum:
                    held.tell(f"answered by {name}, {len(given)} of {lock.quorum}")
                    return Given(len(given), lock.quorum)
                text = together([each.result for each in given], settings)
                visible = [json.loads(each.visible_result or "null") for each in given]
                source["answered_by"]["name"] = " and ".join(e.who_name or e.who for e in given)
            payload = serialize({"name": lock.name, "lid": lid, "result": visible})
            lease = Event(time.time(), Kind.LEASE, payload, lock.attempt, json.dumps(source))
            given_answer = Answer(text, by)
            await held.store(
                store_answer(held.execution, fid, lid, given_answer, lease, held.open_locks)
            )
            return Given(lock.quorum, lock.quorum)


def together(results: Sequence[str | None], settings: Settings | None = None) -> str:
    """The stored text of several answers, which are stored texts: sealed if one is.

    Raises:
        NoKeyError: one is sealed, and there is no secret key.
    """
    used = settings or get_settings()
    answers = [unsealed(result, used) for result in results]
    secret = any(result is not None and result.startswith(SEALED) for result in results)
    return sealed(answers, used) if secret else json.dumps(answers)


def was_answered(lock: Lock) -> bool:
    """Whether somebody has answered it."""
    return lock.state == "leased"


def refusal(lock: Lock) -> str:
    """Why somebody may not answer it, in one line."""
    if lock.asked is None:
        return "only the owner of the execution and operators may answer"
    return f"lock {lock.name!r} asks others; only they and operators may answer"


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
