"""Ending asyncio tasks reliably."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 0.5  # seconds after which a task that goes on is cancelled again


async def cancel_all(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel tasks and return when all have ended; what they raised is retrieved and dropped.

    One ``cancel()`` is not enough for a task that loops: ``asyncio.wait_for`` of Python 3.11,
    through which psycopg waits for its sockets, loses a cancellation that arrives together with
    the answer (python/cpython#86296, fixed in 3.12), and the loop goes on.
    """
    pending = {task for task in tasks if not task.done()}
    ended = pending.copy()
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
    await asyncio.gather(*ended, return_exceptions=True)
