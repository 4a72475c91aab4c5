"""Writing for an event loop, in threads, what comes asynchronously."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

from kodosumi_prefect.files.storage import PIECE, Storage, StorageError
from kodosumi_prefect.files.writing import WrittenContent

WRITERS = 16  # streams that are written at once by one process; each has a thread
PATIENCE = 1.0  # seconds after which a thread looks whether anybody still sends


async def write_stream(storage: Storage, key: str, pieces: AsyncIterator[bytes]) -> WrittenContent:
    """As ``Storage.write``, of pieces that come asynchronously; about ``PIECE`` bytes are held.

    Raises:
        StorageError: it is not stored.
    """
    loop = asyncio.get_running_loop()
    joined = _joined(pieces)
    given_up = threading.Event()

    def blocking() -> Iterator[bytes]:
        while True:
            following = asyncio.run_coroutine_threadsafe(_next(joined), loop)
            while not wait([following], PATIENCE).done:
                if given_up.is_set():
                    following.cancel()
                    raise StorageError("whoever sent the content has gone")
            piece = following.result()
            if piece is None:
                return
            yield piece

    try:
        return await loop.run_in_executor(_writers(), storage.write, key, blocking())
    finally:
        given_up.set()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


async def _joined(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger pieces: each goes from one thread to another."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        if len(buffer) >= PIECE:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


@lru_cache(maxsize=1)
def _writers() -> ThreadPoolExecutor:
    """Threads of their own: those that wait for slow senders are nobody else's."""
    return ThreadPoolExecutor(WRITERS, "kodosumi-files")
