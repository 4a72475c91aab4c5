"""psycopg's private API, as read in psycopg 3.3.9."""

from typing import Any

import psycopg


class CancellingConnection(psycopg.AsyncConnection[Any]):
    """A connection whose subclass says how a statement that nobody waits for is cancelled.

    Psycopg's ``wait`` calls ``_try_cancel`` when it is cancelled itself, and then waits for the
    statement's end.
    """

    async def cancel_statement(self, timeout: float) -> None:
        """Tell the server, at most ``timeout`` seconds, that its answer is not waited for."""
        await super()._try_cancel(timeout=timeout)

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:
        await self.cancel_statement(timeout)
