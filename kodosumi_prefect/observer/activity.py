"""Outages of what the observer needs: logged once, waited out, and logged once when over."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import httpx
import psycopg
from prefect.exceptions import PrefectException

from kodosumi_prefect.spooler.append import ProtocolError

# What goes wrong outside of us, while Postgres or Prefect are away, restart, or are overloaded.
OUTAGES = (
    psycopg.Error,
    httpx.HTTPError,
    PrefectException,
    ProtocolError,
    OSError,
    TimeoutError,
    RuntimeError,
    ValueError,
)
PAUSE = 2.0  # seconds before something that failed is tried again
LONGEST_PAUSE = 60.0  # seconds waited at most because a server asked for it

logger = logging.getLogger(__name__)


class Activity:
    """One activity that may fail for a while.

    Arguments:
        what: what is being done, such as ``"comparing runs with Prefect"``.
        meanwhile: what happens while it fails, if anything does.
    """

    def __init__(self, what: str, meanwhile: str = "") -> None:
        self._what = what
        self._meanwhile = f"; meanwhile {meanwhile}" if meanwhile else ""
        self._since: float | None = None

    def met(self, exc: BaseException) -> None:
        """It failed: a warning, the first time."""
        if self._since is None:
            self._since = time.monotonic()
            reason = " ".join(str(exc).split()) or type(exc).__name__
            logger.warning("failed for now: %s: %s%s", self._what, reason, self._meanwhile)

    def over(self) -> None:
        """It worked: a line, if it had failed before."""
        if self._since is not None:
            took = time.monotonic() - self._since
            self._since = None
            logger.warning("recovered after %.1f s: %s", took, self._what)


async def again_and_again(
    work: Callable[[], Awaitable[None]], pause: float, activity: Activity
) -> None:
    """Do something every ``pause`` seconds until cancelled, whatever happens.

    An error that is no outage is a bug of ours: it is logged in full and the rest goes on.
    """
    while True:
        wait = pause
        try:
            await work()
            activity.over()
        except OUTAGES as exc:
            activity.met(exc)
            wait = max(min(pause, PAUSE), asked_to_wait(exc))
        except Exception:
            logger.exception("unexpected error in the observer, it continues")
            wait = max(pause, PAUSE)
        await asyncio.sleep(wait)


def asked_to_wait(exc: BaseException) -> float:
    """Seconds that a server which answered 429 or 503 asked for; 0 if it did not.

    Prefect's own client waits as asked too, a few times, before it gives up with this error.
    """
    if not isinstance(exc, httpx.HTTPStatusError):
        return 0.0
    try:
        seconds = float(exc.response.headers.get("Retry-After", "0"))
    except ValueError:
        return PAUSE  # a date; the next answer states again how long
    return min(max(seconds, 0.0), LONGEST_PAUSE)
