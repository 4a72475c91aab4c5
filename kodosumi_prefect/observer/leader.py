"""One observer leads: it holds an advisory lock of Postgres, on a connection of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.connection import connect_async
from kodosumi_prefect.settings import Settings, listen_url

STAND_BY = 1.0  # seconds between tries to take over
PROOF = 1.0  # seconds between checks whether the lock is still held
ANSWER = 5.0  # seconds that Postgres may take to answer them

# So that Postgres, too, notices within some 10 seconds that a leader's machine is gone.
NOTICE = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3"
)
KEY = "hashtextextended(%(key)s, 0)"
TAKE = f"SELECT pg_try_advisory_lock({KEY})"
HELD = f"""SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND pid = pg_backend_pid()
    AND ((classid::bigint << 32) | objid::bigint) = {KEY})"""

POOLED = (
    "database_url goes through a transaction pooler, where no lock can be held, so this observer "
    "leads without a lock and several observers do the same work; set database_listen_url to a "
    "direct connection"
)

logger = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@asynccontextmanager
async def leading(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """Stand by until this process leads, and lead inside the block.

    Behind a transaction pooler no lock can be held: the process then leads at once and logs that.
    Everything that observers write is stored once, so that is wasteful, not wrong.

    Yields:
        An event that is set as soon as the lead is lost.

    Raises:
        psycopg.Error: the database is away.
    """
    url = listen_url(settings)
    if url is None:
        raise OSError(f"no Postgres is configured and none runs for {settings.data_dir}")
    key = {"key": f"{settings.database_schema}.observer"}
    connection = await _connect(url)
    try:
        pooled = await _is_pooled(url, connection)
        if pooled:
            logger.warning("%s", POOLED)
        else:
            await connection.execute(NOTICE)
            while True:
                if await _is_true(connection, TAKE, key):
                    break
                await asyncio.sleep(STAND_BY)
        lost = asyncio.Event()
        proving = asyncio.create_task(_prove(connection, None if pooled else key, lost))
        try:
            yield lost
        finally:
            await cancel_all([proving])
    finally:
        await connection.close()


async def _connect(url: str) -> Connection:
    return await connect_async(url, answer_timeout=ANSWER, application_name="kodosumi-observer")


async def _is_pooled(url: str, connection: Connection) -> bool:
    """Whether two open connections are served by one backend, as a transaction pooler does it."""
    other = await _connect(url)
    try:
        pids = []
        for one in (connection, other):
            row = await (await one.execute("SELECT pg_backend_pid()")).fetchone()
            pids.append(row)
        return pids[0] == pids[1]
    finally:
        await other.close()


async def _prove(connection: Connection, key: dict[str, str] | None, lost: asyncio.Event) -> None:
    """Set ``lost`` when the connection, or the lock on it, is gone."""
    try:
        while True:
            await asyncio.sleep(PROOF)
            if key is None:
                await connection.execute("SELECT 1")
            elif not await _is_true(connection, HELD, key):
                logger.warning("this connection lost the leader's lock; %s", POOLED)
                return
    except (psycopg.Error, OSError, TimeoutError) as exc:
        logger.warning("this observer is no longer the leader: %s", " ".join(str(exc).split()))
    finally:
        lost.set()


async def _is_true(connection: Connection, query: str, key: dict[str, str]) -> bool:
    row = await (await connection.execute(query, key)).fetchone()
    return row is not None and bool(row[0])
