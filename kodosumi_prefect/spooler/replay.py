"""Delivering what ended processes left on disk, and continuing after a database was restored."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID, uuid5

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import refused, spill
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.spooler.refused import Refused, RefusedError
from kodosumi_prefect.spooler.storing import GapError
from kodosumi_prefect.spooler.transport import Transport

logger = logging.getLogger(__name__)


class Rebase:
    """Continues a writer under another id where the database was restored from a backup.

    The new id follows from the old one, so that delivering the same batches twice stays harmless.

    Arguments:
        refused: keeps what the database refuses for good; without one, that is an error.
    """

    def __init__(self, refused: Refused | None = None) -> None:
        self._refused = refused
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
            sent = [self(batch) for batch in batches]
            try:
                transport.append(sent)
                return
            except RefusedError as exc:
                if self._refused is None:
                    raise
                pairs = zip(batches, sent, strict=True)
                refused = [batch for batch, as_sent in pairs if exc.of(as_sent)]
                self._refused.keep(refused, exc.reason)
                return
            except GapError as gap:
                logger.warning("the database lacks earlier batches, probably by a restore: %s", gap)
                self.learn(gap)


def replay_orphans(settings: Settings, transport: Transport) -> dict[str, int]:
    """Deliver the spill files that ended processes left for this database.

    Returns:
        Deliveries by file. Delivering a file twice stores nothing twice.

    Raises:
        psycopg.Error: the database is away; undelivered files stay.
    """
    return dict(replaying(settings, transport))


def replay_refused(settings: Settings, transport: Transport) -> dict[str, tuple[int, int]]:
    """Try again what the database refused.

    Returns:
        By file, how many deliveries are stored now, and how many were refused again and stay.

    Raises:
        psycopg.Error: the database is away; the files stay.
    """
    rebase = Rebase()
    tried = {}
    for path in refused.files(spill.folder(settings)):
        with suppress(FileNotFoundError):  # another process is working on it
            tried[str(path)] = refused.replay(
                path, lambda batches: rebase.deliver(transport, batches)
            )
    return tried


def replaying(settings: Settings, transport: Transport) -> Iterator[tuple[str, int]]:
    """The same, step by step: yields a file and how many of its deliveries were stored so far."""
    rebase = Rebase(Refused(spill.folder(settings)))
    for path in spill.orphans(spill.folder(settings)):
        if not all(transport.takes(fid) for fid in spill.first_fids(path)):
            continue  # through the panel, which asks for a token of the execution
        for count in spill.replay(path, lambda batches: rebase.deliver(transport, batches)):
            yield str(path), count
