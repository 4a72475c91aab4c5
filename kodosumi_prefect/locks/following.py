"""What follows a question by itself, each step once: asked, reminded, escalated, expired.

Everything is in Postgres and by its clock: a step is taken out of the plan, done, noted and told in
one transaction, whoever does it and however often it is tried.
"""

import json
import time
from collections.abc import Sequence

from kodosumi_prefect.database.rows.locks import DueStep, GivenAnswer, LockId
from kodosumi_prefect.events import Event, Kind, serialize
from kodosumi_prefect.locks.answering import closed
from kodosumi_prefect.locks.asking import OWNER, TEAM
from kodosumi_prefect.locks.held import Held, UnknownLockError, hold
from kodosumi_prefect.spooler.storing import store_said
from kodosumi_prefect.stream.reader import Reader

NOBODY = "nobody could be reached; operators may answer"
GRACE = 5.0  # seconds after the deadline in which a run that waits says itself that it gave up


async def due(reader: Reader, limit: int) -> list[DueStep]:
    """Steps whose time has come, the eldest first."""
    return await reader.rows_of(DueStep, "due_lock_steps", limit=limit)


async def overdue(reader: Reader, limit: int) -> list[LockId]:
    """Open locks whose deadline has passed, and nobody said so."""
    return await reader.rows_of(LockId, "overdue_locks", limit=limit, grace=GRACE)


async def take(reader: Reader, step: DueStep) -> bool:
    """Do a step that is due; False if it was done, or nobody waits any more."""
    try:
        async with hold(reader, step.fid, step.lid) as held:
            planned = await held.values("begin_lock_step", step=step.step, number=step.number)
            if not planned or closed(held.lock) is not None:
                return False
            await _do(held, step, planned[0])
            return True
    except UnknownLockError:
        return False  # deleted with its execution meanwhile


async def expire(reader: Reader, lock: LockId) -> bool:
    """End a lock that nobody answered in time; False if it is no longer open.

    The run gets what the lock's row has as ``on_expiry``, or a ``TimeoutError``.
    """
    try:
        async with hold(reader, lock.fid, lock.lid) as held:
            asked = held.lock
            if asked.state != "open" or not asked.over:
                return False
            value = json.loads(asked.on_expiry) if asked.on_expiry is not None else None
            payload = {"name": asked.name, "lid": asked.lid, "result": value, "state": "expired"}
            event = Event(time.time(), Kind.LEASE, serialize(payload), asked.attempt)
            await held.store(store_said(held.execution, asked.fid, [event], held.open_locks))
            return True
    except UnknownLockError:
        return False


async def _do(held: Held, step: DueStep, recipients: Sequence[str]) -> None:
    asked = held.lock.asked or [OWNER]
    if step.step == "escalated":
        added = [*asked, *(name for name in recipients if name not in asked)]
        await held.execute("set_asked", asked=added, handed_on=held.lock.handed_on)
    names = recipients or asked
    people, nobody = await held.people(names)
    if step.step == "reminded" and held.lock.quorum > 1:
        answered = {each.who for each in await held.rows_of(GivenAnswer, "answers_of_lock")}
        people = [each for each in people if each.id not in answered]
    reached = sorted(str(each.name) for each in people)
    await held.note(step.step, step.number, recipients=list(names), reached=reached)
    await held.audit(f"lock_{step.step}", reached=reached, asked=list(names))
    if reached:
        held.tell(f"{_WORDS[step.step]} {', '.join(reached)}")
    else:
        held.tell(f"{step.step}: {NOBODY}")
    if step.step != "reminded":
        for name in nobody:
            held.tell(_unreached(name), Kind.STDERR)


_WORDS = {"asked": "asked", "reminded": "reminded", "escalated": "asked now too:"}


def _unreached(name: str) -> str:
    """What is said of a name that stands for nobody."""
    if name == OWNER:
        return "the owner of the run has no active account; operators may answer"
    if name.startswith(TEAM):
        team = name.removeprefix(TEAM)
        what = f"there is no team “{team}” with an active account"
    else:
        what = f"there is no active account “{name}”"
    return f"{what}; the owner and operators may answer in its place"
