"""Coroutines for callers that have no event loop: one runs in a thread, from the first use on."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

CANCEL_SECONDS = 5.0  # that an interrupted call has to end

T = TypeVar("T")


class Bridge:
    """An event loop in a thread of its own, which does not keep the process from ending."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises; it is cancelled if the caller is interrupted."""
        over = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_until_over(coroutine, over), self._started())
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                over.wait(CANCEL_SECONDS)  # what is being cancelled cannot be closed yet
            raise

    def iterate(self, generator: AsyncGenerator[T, None]) -> Iterator[T]:
        """What it yields, one at a time, as it is asked for."""
        try:
            while (found := self.run(_next(generator))) is not None:
                yield found
        finally:
            self.run(generator.aclose())

    def close(self) -> None:
        """End the thread, if there is one."""
        with self._starting:
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()
            self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="kodosumi-client", daemon=True
                )
                self._thread.start()
            return self._loop


async def _until_over(coroutine: Coroutine[Any, Any, T], over: threading.Event) -> T:
    try:
        return await coroutine
    finally:
        over.set()


async def _next(generator: AsyncGenerator[T, None]) -> T | None:
    return await anext(generator, None)
