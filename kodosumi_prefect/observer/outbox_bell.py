"""Wakes up whoever empties the outbox, as soon as something may be in it."""

import asyncio
import logging
import time

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.database import channels
from kodosumi_prefect.database.connection import BoundedAsyncConnection
from kodosumi_prefect.database.listen import Listener
from kodosumi_prefect.settings import Settings, listen_url

SWEEP = 0.5  # seconds between looks for what nobody notified of
GRAIN = 0.03  # seconds between looks while one notification follows the other

logger = logging.getLogger(__name__)


class OutboxBell:
    """Rings when events of any execution were stored: whatever is told is stored along with some.

    Writers notify of their events after the commit anyway; a notification of the outbox's own
    would be sent inside their transaction, which takes a lock of the whole instance.
    """

    def __init__(self, settings: Settings) -> None:
        self._ears: list[Ear] = []
        self._listener = Listener(
            channels.events(settings.database_schema),
            lambda: listen_url(settings),
            what="what is to be told",
            meanwhile=f"looking every {SWEEP} s",
            backoff=Backoff(0.2, 5.0),
            poll=SWEEP,
            logger=logger,
        )

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._listener.run(self._follow)

    def ear(self) -> "Ear":
        """For somebody who looks whenever it rings."""
        ear = Ear()
        self._ears.append(ear)
        return ear

    def ring(self) -> None:
        """Wake up all who wait."""
        for ear in self._ears:
            ear.rung.set()

    async def _follow(self, connection: BoundedAsyncConnection) -> None:
        self.ring()
        async for _ in self._listener.notes(connection):
            self.ring()


class Ear:
    """Hears a bell that rang since it was last waited for, too; not more often than can be used."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()
        self._last = 0.0

    async def wait(self) -> None:
        """Until it rings, or it is time to look anyway."""
        try:
            async with asyncio.timeout(SWEEP):
                await self.rung.wait()
        except TimeoutError:
            pass
        await asyncio.sleep(max(self._last + GRAIN - time.monotonic(), 0))
        self.rung.clear()
        self._last = time.monotonic()
