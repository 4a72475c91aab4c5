"""Delivering what ended processes left on disk, and going on where a database was restored."""

import logging
from collections.abc import Iterator
from uuid import UUID, uuid5

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.spooler.spooler import GapError
from kodosumi_prefect.spooler.transport import Transport

logger = logging.getLogger(__name__)


class Rebase:
    """Continues a writer under another id where the database was restored from a backup.

    The new id follows from the old one, so that delivering the same batches twice stays harmless.
    """

    def __init__(self) -> None:
        self._moved: dict[tuple[str, str], tuple[str, int]] = {}

    def __call__(self, batch: Batch) -> Batch:
        while (move := self._moved.get((batch.fid, batch.writer))) is not None:
            writer, offset = move
            batch = batch._replace(writer=writer, number=batch.number - offset)
        return batch

    def learn(self, gap: GapError) -> None:
        writer = str(uuid5(UUID(gap.writer), f"{gap.fid}:{gap.number}"))
        self._moved[(gap.fid, gap.writer)] = (writer, gap.number - 1)

    def deliver(self, transport: Transport, batches: list[Batch]) -> None:
        """Append, moving writers on until the database accepts them."""
        while True:
            try:
                transport.append([self(batch) for batch in batches])
                return
            except GapError as gap:
                logger.warning("the database lacks earlier batches, it was restored: %s", gap)
                self.learn(gap)


def replay_orphans(settings: Settings, transport: Transport) -> dict[str, int]:
    """Deliver the spill files that ended processes left for this database.

    Returns:
        Deliveries by file. Delivering a file twice stores nothing twice.

    Raises:
        psycopg.Error: the database is away; undelivered files stay.
    """
    return dict(replaying(settings, transport))


def replaying(settings: Settings, transport: Transport) -> Iterator[tuple[str, int]]:
    """The same step by step: yields a file and how many of its deliveries were stored so far."""
    rebase = Rebase()
    for path in spill.orphans(spill.folder(settings)):
        for count in spill.replay(path, lambda batches: rebase.deliver(transport, batches)):
            yield str(path), count
