"""Growing pauses between tries of something that is away."""

import asyncio
import random


class Backoff:
    """Pauses that double with each failure in a row, up to a longest one.

    Example:
        ```python
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                await serve(on_ready=backoff.reset)
            except OSError:
                await backoff.sleep()
        ```

    Arguments:
        first: seconds of the first pause.
        most: seconds of the longest one.
        jitter: part by which each pause is longer or shorter at random, so that many processes
            do not come back together; ``0.2`` for 80 % to 120 %.
    """

    def __init__(self, first: float, most: float, *, jitter: float = 0.0) -> None:
        self._first = first
        self._most = most
        self._jitter = jitter
        self._pause = first
        self.failures = 0

    @property
    def pause(self) -> float:
        """Seconds of the next pause, without jitter."""
        return self._pause

    def next(self) -> float:
        """Count a failure; seconds to wait before the next try."""
        pause = self._pause
        self.failures += 1
        self._pause = min(pause * 2, self._most)
        if not self._jitter:
            return pause
        return pause * random.uniform(1 - self._jitter, 1 + self._jitter)

    def reset(self) -> None:
        """It works: the next pause is the first one again."""
        self._pause = self._first
        self.failures = 0

    async def sleep(self) -> None:
        """Count a failure and wait."""
        await asyncio.sleep(self.next())
