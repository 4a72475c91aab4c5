"""A small pool of connections for an event loop, of which none that is half-open is handed out."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg_pool import AsyncConnectionPool

from kodosumi_prefect.database.connection import BoundedAsyncConnection, NoAnswerError, conninfo

ANSWER_TIMEOUT = 10.0  # seconds that a query may go without a sign of the server
PROVE_AFTER = 5.0  # seconds unused after which a connection has to show that it works
PROVE_TIMEOUT = 1.0  # seconds that it has for it
POOL_TIMEOUT = 4.0  # seconds to wait for a connection before the database counts as away


class Pool:
    """Connections that commit each statement and whose rows are dicts, once it is open.

    Arguments:
        url: libpq URL.
        connections: most connections held at once; one is held always.

    Raises:
        DatabaseUrlError: ``url`` is none.
    """

    def __init__(self, url: str, connections: int) -> None:
        self._pool: AsyncConnectionPool[BoundedAsyncConnection] = AsyncConnectionPool(
            conninfo(url),
            connection_class=BoundedAsyncConnection,
            check=self._prove,
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=1,
            max_size=connections,
            timeout=POOL_TIMEOUT,
            reconnect_timeout=5.0,
            open=False,
            name="kodosumi-reader",
        )

    async def open(self) -> None:
        """Begin to connect; the database may be away."""
        await self._pool.open()

    async def close(self) -> None:
        """Give all connections back."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[BoundedAsyncConnection]:
        """A connection for the block.

        If it does not answer, the idle ones are not to be trusted either and are closed.

        Raises:
            psycopg_pool.PoolTimeout: there was none within ``POOL_TIMEOUT`` seconds.
        """
        try:
            async with self._pool.connection() as connection:
                yield connection
        except NoAnswerError:
            await self._pool.drain()
            raise

    async def check(self) -> None:
        """Close connections that went stale."""
        await self._pool.check()

    async def _prove(self, connection: BoundedAsyncConnection) -> None:
        """Check that a connection that was idle for long is not half-open."""
        connection.answer_timeout = ANSWER_TIMEOUT
        if time.monotonic() - connection.answered_at < PROVE_AFTER:
            return
        connection.answer_timeout = PROVE_TIMEOUT
        try:
            await connection.execute("SELECT 1")
        except NoAnswerError:
            await self._pool.drain()
            raise
        finally:
            connection.answer_timeout = ANSWER_TIMEOUT
