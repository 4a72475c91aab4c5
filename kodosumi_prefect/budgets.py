"""Budgets, in the process that calls models: whether the next call may be made.

What was spent is added up where spans are stored. So a process asks there, behind the end of each
call that it makes, from the thread that delivers events; the next call finds the answer, or waits
a moment for it. Nothing is asked a second time while there is no budget.
"""

import asyncio
import threading
import time

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.spooler.client import SpoolClient, get_client
from kodosumi_prefect.spooler.inbox import Weigh
from kodosumi_prefect.spooler.standing import FREE, Standing, in_words

PATIENCE = 10.0  # seconds that a call waits for the answer; without one it is made
FIRST_PATIENCE = 3.0  # seconds likewise, while it is not known whether there are budgets
MOMENT = 0.1  # seconds that code of an event loop waits for an answer
FREE_FOR = 10.0  # seconds for which it counts that there are no budgets
FRESH_FOR = 2.0  # seconds for which an answer counts without a call in between
ASK_AGAIN = 0.5  # seconds between looks whether somebody answered
MOST = 1000  # executions that a process remembers


class BudgetExceededError(KodosumiError):
    """No further model may be called: a budget of the run is spent."""


class _Known:
    """What this process knows of one execution.

    Attributes:
        standing: None if it was never told.
        at: when it was, by the monotonic clock.
        asked_at: when that was asked, likewise.
        asked: the answer that is to come.
    """

    def __init__(self) -> None:
        self.standing: Standing | None = None
        self.at = float("-inf")
        self.asked_at = float("-inf")
        self.asked: Weigh | None = None


_known: dict[tuple[int, str], _Known] = {}
_lock = threading.Lock()


def check(fid: str) -> None:
    """Call it before a model is called. Cheap: it looks at what is known, and seldom waits.

    Without an answer, as while the database is away, the call may be made. While
    somebody is asked whether the run may go on, it waits for that.

    Raises:
        BudgetExceededError: a budget is spent.
    """
    while (weigh := _needed(fid)) is not None:
        weigh.passed.wait(_patience(fid))
        if not _verdict(fid, weigh):
            return
        time.sleep(ASK_AGAIN)


async def check_async(fid: str) -> None:
    """As ``check``, without blocking the event loop."""
    while (weigh := _needed(fid)) is not None:
        if not weigh.passed.is_set():
            await asyncio.to_thread(weigh.passed.wait, _patience(fid))
        if not _verdict(fid, weigh):
            return
        await asyncio.sleep(ASK_AGAIN)


def check_now(fid: str) -> None:
    """As ``check``, for code of an event loop that cannot await: it waits for a moment at most.

    While somebody is asked whether the run may go on, it refuses: nobody could answer in a moment,
    and what waits here would hold all else of the loop.

    Raises:
        BudgetExceededError: a budget is spent, or somebody is asked.
    """
    if (weigh := _needed(fid)) is None:
        return
    weigh.passed.wait(min(MOMENT, _patience(fid)))
    if _verdict(fid, weigh):
        standing = _of(get_client(), fid).standing
        raise BudgetExceededError(
            f"The budget is spent: {words(standing) if standing else 'nothing'}. Somebody is asked "
            "whether the run may go on, and code of an event loop waits for that by "
            "`await kodosumi_prefect.budgets.check_async(tracer.fid)` or `async with tracer.llm()`"
        )


def check_here(fid: str) -> None:
    """``check``, or in an event loop ``check_now``.

    Raises:
        BudgetExceededError: a budget is spent; in an event loop also while somebody is asked.
    """
    if asyncio._get_running_loop() is None:
        check(fid)
    else:
        check_now(fid)


def called(fid: str) -> None:
    """Call it behind the event that ends a call of a model; does not wait."""
    client = get_client()
    known = _of(client, fid)
    if known.standing is None or not _is_fresh(known, called=True):
        known.asked = client.weigh(fid)


def _patience(fid: str) -> float:
    """Seconds to wait for an answer: none while the database is away, or there were no budgets."""
    client = get_client()
    standing = _of(client, fid).standing
    if not client.connected or (standing is not None and standing.state == "free"):
        return 0.0
    return FIRST_PATIENCE if standing is None else PATIENCE


def _needed(fid: str) -> Weigh | None:
    """The answer that has to be heard before the next call; None if the last one will do."""
    client = get_client()
    known = _of(client, fid)
    if known.asked is not None:
        return known.asked
    if known.standing is not None and _is_fresh(known):
        return None
    known.asked = client.weigh(fid)
    return known.asked


def _verdict(fid: str, weigh: Weigh) -> bool:
    """Take an answer; whether to ask once more, since somebody has been asked."""
    known = _of(get_client(), fid)
    if not weigh.passed.is_set():  # it is late, and tells the call behind this one
        return known.standing is not None and known.standing.state == "asking"
    if known.asked is weigh:
        known.asked = None
    if weigh.standing is not None:
        with _lock:
            if weigh.asked_at >= known.asked_at:  # else a later answer came first
                known.asked_at = weigh.asked_at
                known.standing, known.at = weigh.standing, time.monotonic()
    elif known.standing is None:
        known.standing, known.at = FREE, time.monotonic()
    standing = known.standing
    if standing is None or standing.state not in ("spent", "asking"):
        return False
    known.at = float("-inf")
    if standing.state == "asking":
        return True
    raise BudgetExceededError(f"The budget is spent: {words(standing)}")


def words(standing: Standing) -> str:
    """What was spent, of which budget."""
    if standing.per is None or standing.unit is None:
        return "nothing"
    return in_words(standing.per, standing.unit, standing.spent or 0.0, standing.allowed or 0.0)


def _is_fresh(known: _Known, *, called: bool = False) -> bool:
    """Whether what is known still counts; after a call only that there are no budgets does."""
    age = time.monotonic() - known.at
    if known.standing is not None and known.standing.state == "free":
        return age < FREE_FOR
    return age < FRESH_FOR and not called


def _of(client: SpoolClient, fid: str) -> _Known:
    key = (id(client), fid)
    if (known := _known.get(key)) is None:
        with _lock:
            if len(_known) >= MOST:
                _known.pop(next(iter(_known)))
            known = _known.setdefault(key, _Known())
    return known
