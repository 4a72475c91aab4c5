"""Learning that locks are settled: one LISTEN for all who wait, no polling while nobody waits."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database import channels
from kodosumi_prefect.database.connection import BoundedAsyncConnection
from kodosumi_prefect.database.listen import Listener
from kodosumi_prefect.database.sql import Queries

SWEEP = 30.0  # seconds between checks for lost notifications
PROVE = 10.0  # seconds between checks whether the connection works
POLL = 0.5  # seconds between polls until a test notification has arrived
LINGER = 2.0  # seconds that the connection is kept when nobody waits any more
RETRY_FIRST = 0.2  # seconds
RETRY_MOST = 5.0  # seconds

PARKED, OVER = "parked:", "over:"  # of a task in another process than its flow's, see apart.sql

logger = logging.getLogger(__name__)


class Settled(NamedTuple):
    """A lock that is no longer open, or what is said of a task in another process.

    Attributes:
        state: ``leased``, ``expired`` or ``void``; ``said`` of a task.
        result: what was answered, as it is stored.
    """

    lid: str
    state: str
    result: str | None


class _Watch:
    """Somebody who waits until any of some locks is settled."""

    def __init__(self, locks: Mapping[str, str]) -> None:
        self.locks = locks
        self.settled: list[Settled] = []
        self.any = asyncio.Event()


class Leases:
    """Reports when locks are settled; used from one event loop.

    It holds one connection while somebody waits, and reads the waiting locks again after each
    connect, so that a restart of Postgres changes nothing.

    Arguments:
        url: a direct connection, for LISTEN.
        schema: where our tables are.
    """

    def __init__(self, url: str, schema: str) -> None:
        self._queries = Queries(schema)
        self._channel = channels.settled_locks(schema)
        self._watches: set[_Watch] = set()
        self._unread: set[str] = set()
        self._patience: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None
        self._listener = Listener(
            self._channel,
            lambda: url,
            what="answers to locks",
            meanwhile="trying again",
            backoff=Backoff(RETRY_FIRST, RETRY_MOST),
            poll=POLL,
            send=self._notify_ourselves,
            once=True,
            logger=logger,
        )

    @property
    def connected(self) -> bool:
        """Whether a connection is held."""
        return self._listener.connected

    @property
    def polling(self) -> bool:
        """Whether notifications do not arrive on it, as far as is known."""
        return self._listener.polling

    async def settled(self, locks: Mapping[str, str], hold: float) -> list[Settled]:
        """Wait until some of these locks are no longer open; none after ``hold`` seconds.

        A lock that is not there yet counts as open.

        Arguments:
            locks: the execution (fid) of each lock, by its id.
        """
        watch = _Watch(locks)
        self._watches.add(watch)
        self._look(locks)
        if self._task is None or self._task.done():
            running = self._listener.run(self._follow, lambda: bool(self._watches))
            self._task = asyncio.create_task(running, name="kodosumi-leases")
        try:
            async with asyncio.timeout(hold):
                await watch.any.wait()
        except TimeoutError:
            pass
        finally:
            self._watches.discard(watch)
        return watch.settled

    async def close(self) -> None:
        """Give the connection back."""
        if self._task is not None:
            await cancel_all([self._task])

    def _look(self, lids: Iterable[str]) -> None:
        """Have these locks read soon."""
        self._unread.update(lids)
        if self._patience is not None:
            # One that is just running out cannot be moved any more, nor need it be.
            with contextlib.suppress(RuntimeError):
                self._patience.reschedule(asyncio.get_running_loop().time())

    def _watched(self) -> dict[str, str]:
        return {lid: fid for watch in self._watches for lid, fid in watch.locks.items()}

    async def _notify_ourselves(self, connection: BoundedAsyncConnection, payload: str) -> None:
        """By the one connection that is held."""
        await connection.execute(
            self._queries["notify"], {"channel": self._channel, "fids": [payload]}
        )

    async def _follow(self, connection: BoundedAsyncConnection) -> None:
        """Read what was notified of, until nobody waits."""
        loop = asyncio.get_running_loop()
        last_wait = loop.time()
        self._unread.update(self._watched())
        while self._watches or loop.time() < last_wait + LINGER:
            if self._watches:
                last_wait = loop.time()
            if self._unread:
                await self._read(connection)
            else:
                await self._hear(connection)

    async def _hear(self, connection: BoundedAsyncConnection) -> None:
        """Wait for a notification, for somebody new who waits, or until it is time to look."""
        began = asyncio.get_running_loop().time()
        pause = (POLL if self.polling else min(SWEEP, PROVE)) if self._watches else LINGER
        try:
            async with asyncio.timeout(pause) as self._patience:
                # A timeout of its own: the outer one can be lost, see cancel_all.
                async for note in connection.notifies(timeout=pause, stop_after=1):
                    if not self._listener.is_probe(note.payload):
                        self._unread.add(note.payload)
        except TimeoutError:
            pass
        finally:
            self._patience = None
        if asyncio.get_running_loop().time() >= began + pause:
            self._unread.update(self._watched())

    async def _read(self, connection: BoundedAsyncConnection) -> None:
        watched = self._watched()
        lids = self._unread & watched.keys()
        self._unread = set()
        if not lids:
            return
        fids = list({watched[lid] for lid in lids})
        cursor = await connection.execute(
            self._queries["settled_locks"], {"fids": fids, "lids": list(lids)}
        )
        newly_settled = [Settled(*row) for row in await cursor.fetchall()]
        if said := [lid for lid in lids if lid.startswith((PARKED, OVER))]:
            cursor = await connection.execute(self._queries["said_apart"], {"said": said})
            newly_settled += [Settled(*row) for row in await cursor.fetchall()]
        for watch in self._watches:
            mine = [settled for settled in newly_settled if settled.lid in watch.locks]
            if mine:
                watch.settled += mine
                watch.any.set()
