"""What a spool client has not delivered yet: in memory, in its spill file, as copies on disk."""

import logging
from collections import deque
from itertools import islice
from typing import NamedTuple

from kodosumi_prefect.events import DROPPABLE_KINDS
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.batch import KIND, Batch
from kodosumi_prefect.spooler.copies import Copies
from kodosumi_prefect.spooler.freezing import missing_event
from kodosumi_prefect.spooler.sends_ahead import Flights

TOGETHER = 4  # deliveries sent in one transaction at most

logger = logging.getLogger(__name__)


class Frozen(NamedTuple):
    """A delivery that waits in memory, and its size in bytes, about."""

    delivery: list[Batch]
    size: int

    @property
    def events(self) -> int:
        return sum(len(batch.events) for batch in self.delivery)


class Undelivered:
    """Deliveries in their order. Used by one thread at a time, as the client's turns say.

    Arguments:
        settings: the bound of the spill file, and where it is.
        writer: names the spill file.
        flights: what of the queue is on its way; forgotten when the queue goes to disk.

    Attributes:
        queue: in memory, delivered after the spill file.
        bytes: of the queue, about.
        events: in the queue.
        spill: the spill file.
        copies: of the oldest in the queue, on disk.
    """

    def __init__(self, settings: Settings, writer: str, flights: Flights) -> None:
        self._settings = settings
        self._flights = flights
        self.queue: deque[Frozen] = deque()
        self.bytes = 0
        self.events = 0
        self.spill = spill.Spill(spill.folder(settings) / f"{writer}{spill.SUFFIX}")
        self._disk_failed = False
        self.copies = Copies(spill.folder(settings))
        self._copying_failed = False

    def __bool__(self) -> bool:
        return bool(self.queue or self.spill)

    def abandon(self) -> None:
        """Leave the files to the process that made them."""
        self.spill.abandon()
        self.copies.abandon()

    def add(self, frozen: Frozen) -> None:
        """Queue a delivery in memory."""
        self.queue.append(frozen)
        self.bytes += frozen.size
        self.events += frozen.events

    def to_disk(self, delivery: list[Batch], size: int) -> bool:
        """Write a delivery to the spill file, behind the queue; False if the disk won't take it."""
        if self.queue and not self.move_to_disk():
            return False
        if self.spill.size + size > self._settings.spill_bytes:
            delivery = thin(delivery)
        return self._write(delivery)

    def move_to_disk(self) -> bool:
        """Move the queue to the spill file, behind what is there; False if not all could be."""
        self._flights.forget()
        while self.queue:
            if not self._write(self.queue[0].delivery):
                return False
            self.drop_oldest()
        return True

    def drop_oldest(self) -> None:
        self.copies.drop()
        frozen = self.queue.popleft()
        self.bytes -= frozen.size
        self.events -= frozen.events

    def _write(self, delivery: list[Batch]) -> bool:
        try:
            try:
                self.spill.append(delivery)
            except OSError:
                if not self.copies:
                    raise
                self.copies.clear()  # they take the place
                self.spill.append(delivery)
        except OSError as exc:
            if not self._disk_failed:
                self._disk_failed = True
                logger.warning(
                    "cannot write the spill file %s (%s); undelivered events stay in memory",
                    self.spill.path,
                    exc.strerror or exc,
                )
            return False
        self._disk_failed = False
        return True

    def oldest(self, skipped: int) -> list[Frozen]:
        """What goes into the next transaction behind ``skipped`` of the queue."""
        return list(islice(self.queue, skipped, skipped + TOGETHER))

    def copy(self) -> None:
        """Write the part of the queue to disk that is not there yet."""
        if len(self.copies) == len(self.queue) or self.copies.size > self._settings.spill_bytes:
            return
        waiting = islice(self.queue, len(self.copies), None)
        try:
            self.copies.add(frozen.delivery for frozen in waiting)
        except OSError as exc:
            if not self._copying_failed:
                self._copying_failed = True
                logger.warning(
                    "cannot write a copy of undelivered events to %s; they are in memory only: %s",
                    spill.folder(self._settings),
                    exc.strerror or exc,
                )
        else:
            self._copying_failed = False


def batches_of(deliveries: list[Frozen]) -> list[Batch]:
    return [batch for frozen in deliveries for batch in frozen.delivery]


def thin(delivery: list[Batch]) -> list[Batch]:
    """The delivery without stdio events; one event in their place counts them."""
    thinned = []
    for batch in delivery:
        remaining = [event for event in batch.events if event[KIND] not in DROPPABLE_KINDS]
        if count := len(batch.events) - len(remaining):
            remaining.append(missing_event(count))
        thinned.append(batch._replace(events=remaining))
    return thinned
