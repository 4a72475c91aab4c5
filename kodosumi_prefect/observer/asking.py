"""What follows questions by themselves: people are asked, reminded, others asked; time is up."""

import logging

from kodosumi_prefect.database.rows.locks import DueStep, LockId
from kodosumi_prefect.locks import following
from kodosumi_prefect.stream.reader import Reader

EVERY = 1.0  # seconds
PORTION = 200  # steps, or locks, at once
REMEMBERED = 1000  # steps and locks that could not be done

logger = logging.getLogger(__name__)


class Asking:
    """Does what is due about open locks. Several observers at once do each step once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._failed: set[DueStep | LockId] = set()

    async def look(self) -> None:
        """Do what is due; what could not be done comes last the next time, and holds up nothing."""
        most = PORTION + len(self._failed)
        steps = await following.due(self._reader, most)
        overdue = await following.overdue(self._reader, most)
        everything: list[DueStep | LockId] = [*steps, *overdue]
        for each in sorted(everything, key=self._failed.__contains__):
            try:
                await self._do(each)
            except Exception:
                if len(self._failed) < REMEMBERED:
                    self._failed.add(each)
                raise
            self._failed.discard(each)

    async def _do(self, due: DueStep | LockId) -> None:
        if isinstance(due, DueStep):
            if await following.take(self._reader, due):
                logger.debug("%s lock %s of %s", due.step, due.lid, due.fid)
        elif await following.expire(self._reader, due):
            logger.info("lock %s of %s expired without an answer", due.lid, due.fid)
