"""Spill files that ended processes left on this machine."""

import asyncio
import logging

from kodosumi_prefect.settings import Settings, database_url
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.replay import replay_orphans

logger = logging.getLogger(__name__)


class Orphans:
    """Delivers them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def look(self) -> None:
        """Deliver what is there now."""
        await asyncio.to_thread(self._replay)

    def _replay(self) -> None:
        url = database_url(self._settings)
        if url is None:
            return
        spooler = Spooler(url, self._settings.database_schema)
        try:
            for path, count in replay_orphans(self._settings, spooler).items():
                logger.info("delivered %d batches that an ended process left in %s", count, path)
        finally:
            spooler.close()
