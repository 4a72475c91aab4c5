"""Failed logins, counted in Postgres for all panels, so that guessing passwords takes too long.

Guesses from one address are refused for a growing time. Guesses at one name from many addresses
are only answered more slowly: were they refused, anybody could lock anybody out. A browser in
which somebody was signed in before is counted by itself, whatever others do.
"""

import asyncio
import hashlib
import time
from dataclasses import dataclass

from kodosumi_prefect.panel.accounts.names import folded
from kodosumi_prefect.panel.web.networks import source_of
from kodosumi_prefect.refusals import TooManyError
from kodosumi_prefect.stream.reader import Reader

WINDOW = 3600.0  # seconds after which failures are forgotten
FREE = 10  # failures of an address, or of a known browser, before it has to wait
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0  # seconds; doubles with every failure
UNHURRIED = 3  # failures of a name before answers take longer
FIRST_DELAY, LONGEST_DELAY = 0.25, 4.0  # seconds; doubles likewise


class TooManyAttemptsError(TooManyError):
    """This address has to wait.

    Arguments:
        seconds: for how long.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"too many failed logins; try again in {seconds:.0f} seconds", retry_after=seconds
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login under way, counted as failed until it succeeded.

    Attributes:
        source: the key of where it comes from.
        name: the key of the name it tries, unless its browser is known.
        delay: seconds that its answer should take.
    """

    source: str
    name: str | None
    delay: float


class Attempts:
    """The table ``login_failure``; raises ``psycopg.OperationalError`` if Postgres is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._cleaned = 0.0

    async def begin(self, name: str, address: str, device: str | None) -> Attempt:
        """Count a login, and have whoever tries names in turn wait.

        It is counted before the password is looked at: of a thousand at once, ten get through.

        Arguments:
            name: the account's own if there is one, which has many spellings; else what was typed.
            address: the client's.
            device: which browser it is, if the account was signed in there before.

        Raises:
            TooManyAttemptsError: before that, for this source.
        """
        await self._clean()
        source = f"address {source_of(address)}" if device is None else f"device {device}"
        counted = await self._reader.values(
            "count_login",
            key=source,
            window=WINDOW,
            free=FREE,
            first=FIRST_WAIT,
            longest=LONGEST_WAIT,
        )
        if not counted:
            left = await self._reader.values(
                "login_wait", key=source, free=FREE, first=FIRST_WAIT, longest=LONGEST_WAIT
            )
            raise TooManyAttemptsError(max(left[0], 1.0) if left else 1.0)
        if device is not None:
            return Attempt(source, None, 0.0)
        # People type passwords where the name belongs: it is not kept as it is.
        key = "name " + hashlib.sha256(folded(name).encode(errors="replace")).hexdigest()[:32]
        tried = await self._reader.values(
            "count_login", key=key, window=WINDOW, free=2**31 - 1, first=0.0, longest=0.0
        )
        return Attempt(source, key, _delay(tried[0] - 1 if tried else 0))

    async def succeeded(self, attempt: Attempt) -> None:
        """Take an attempt back. What else its address failed at goes on counting."""
        await self._reader.execute("discount_login", key=attempt.source)
        if attempt.name is not None:
            await self._reader.execute("forget_login", key=attempt.name)

    async def _clean(self) -> None:
        if time.monotonic() - self._cleaned > WINDOW or not self._cleaned:
            self._cleaned = time.monotonic()
            await self._reader.execute("clean_logins", window=WINDOW)


async def wait(attempt: Attempt) -> None:
    """Take as long as the answer to an attempt should."""
    if attempt.delay:
        await asyncio.sleep(attempt.delay)


def _delay(failures: int) -> float:
    beyond = failures - UNHURRIED
    return 0.0 if beyond < 0 else min(FIRST_DELAY * 2.0 ** min(beyond, 10), LONGEST_DELAY)
