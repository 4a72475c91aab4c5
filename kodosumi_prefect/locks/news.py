"""Word from other threads to the code that waits at a lock."""

import asyncio
import threading
import time
from contextlib import suppress

BREATH = 5.0  # seconds after which a thread that waits lets Prefect's timeouts interrupt it


class News:
    """For a thread. Prefect interrupts others than the main one when they next run."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def tell(self) -> None:
        """There is something to look at; may be called from any thread."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait until something was told since the last wait, at most so long."""
        breath = seconds if threading.current_thread() is threading.main_thread() else BREATH
        deadline = time.monotonic() + seconds
        left = seconds
        while not self._event.wait(min(left, breath)) and left > 0:
            left = max(deadline - time.monotonic(), 0.0)
        self._event.clear()


class AsyncNews:
    """For code in the running event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def tell(self) -> None:
        """As ``News.tell``."""
        with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        """As ``News.wait``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
