"""When something that died is started again."""

import time
from collections import deque
from collections.abc import Callable

from kodosumi_prefect.backoff import Backoff

FIRST, LAST = 0.5, 60.0  # seconds before a start
QUICK = 3  # starts after the shortest pause, before it doubles with each
STEADY = 60.0  # seconds of service after which the pause is the shortest again
COUNTED = 3600.0  # seconds for which a death is counted for people


class Restarts:
    """The pauses before one part's next starts, and how often it died.

    They grow while it dies again and again, without an end, and shrink once it has served for a
    steady minute.

    Example:
        ```python
        restarts = Restarts()
        while True:
            await serve(on_ready=restarts.served)
            await asyncio.sleep(restarts.died())
        ```

    Arguments:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: deque[float] = deque()
        self._backoff = Backoff(FIRST, LAST)
        self._in_a_row = 0
        self._serves_since: float | None = None

    def served(self) -> None:
        """It is ready, from now on until ``died``."""
        self._serves_since = self._clock()

    def died(self) -> float:
        """It died, or its start failed.

        Returns:
            Seconds to wait before it is started again.
        """
        now = self._clock()
        if self._serves_since is not None and now - self._serves_since >= STEADY:
            self._in_a_row = 0
            self._backoff.reset()
        self._serves_since = None
        self._in_a_row += 1
        self._deaths.append(now)
        while now - self._deaths[0] > COUNTED:
            self._deaths.popleft()
        return FIRST if self._in_a_row < QUICK else self._backoff.next()

    @property
    def often(self) -> str:
        """How often it died, for people: ``3 times within an hour``; empty for the first time."""
        deaths = len(self._deaths)
        return f"{deaths} times within an hour" if deaths > 1 else ""
