"""What follows questions by themselves: people are asked, reminded, others asked; time is up."""

import logging

from kodosumi_prefect.locks import following
from kodosumi_prefect.stream.reader import Reader

EVERY = 1.0  # seconds
PORTION = 200  # steps, or locks, at once

logger = logging.getLogger(__name__)


class Asking:
    """Does what is due about open locks. Several observers at once do each step once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def look(self) -> None:
        """Do what is due."""
        for step in await following.due(self._reader, PORTION):
            if await following.take(self._reader, step):
                logger.debug("%s lock %s of %s", step.step, step.lid, step.fid)
        for lock in await following.overdue(self._reader, PORTION):
            if await following.expire(self._reader, lock):
                logger.info("lock %s of %s expired without an answer", lock.lid, lock.fid)
