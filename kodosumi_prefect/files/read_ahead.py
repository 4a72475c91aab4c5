"""Reading in threads for an event loop, one piece before it is asked for."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

READERS = 8  # pieces that are read at once by one process; each has a thread


async def read_ahead(pieces: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """The same pieces; the next one is read while the last one is used.

    Raises:
        What ``pieces`` raises.
    """
    reading = _readers().submit(next, pieces, None)
    try:
        while (piece := await asyncio.wrap_future(reading)) is not None:
            reading = _readers().submit(next, pieces, None)
            yield piece
    finally:
        reading.cancel()
        reading.add_done_callback(lambda _: pieces.close())  # not while a thread is in it


@lru_cache(maxsize=1)
def _readers() -> ThreadPoolExecutor:
    """Threads of their own: other work on files may take long."""
    return ThreadPoolExecutor(READERS, "kodosumi-files-readers")
