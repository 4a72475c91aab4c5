"""What waits in the inbox of a spool client: events, and who waits behind them."""

import queue
import threading
import time
from typing import NamedTuple

from kodosumi_prefect.events import DROPPABLE_KINDS, Event
from kodosumi_prefect.spooler.batch import KIND, PAYLOAD, Fields
from kodosumi_prefect.spooler.standing import Standing

INBOX_SOFT = 100_000  # emitters are slowed down beyond this many events waiting to be batched
INBOX_HARD = 200_000  # stdio events are only counted beyond this many events waiting
LARGE = 10_000  # characters; a longer payload is counted on its own

# What an emitter puts in: fid, the fields of an Event, alive; plain tuples, as `Fields` says.
Emitted = tuple[str, Fields, bool | None]


class Together(NamedTuple):
    """Events that go into one transaction."""

    fid: str
    events: tuple[Event, ...]


class Barrier:
    """Queued behind everything emitted before it; set when all of that is stored."""

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.stored = False


class SpillNow(Barrier):
    """Set when everything emitted before it is stored or in the spill file."""


class Connect(Barrier):
    """Set when the thread has a connection, or found that it cannot get one."""


class Weigh(Barrier):
    """Set when everything emitted before it is stored, and how its execution stands is known.

    Attributes:
        asked_at: by the monotonic clock.
        standing: None if that could not be asked.
    """

    def __init__(self, fid: str) -> None:
        super().__init__()
        self.fid = fid
        self.asked_at = time.monotonic()
        self.standing: Standing | None = None


class Inbox(queue.SimpleQueue[Emitted | Together | Barrier]):
    """What waits to be cut into deliveries; a flood of output is slowed down, then counted only.

    Attributes:
        missing: stdio events that were dropped and not reported yet, by execution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, int] = {}
        self._flood_lock = threading.Lock()
        self._large = 0

    def drops(self, fid: str, fields: Fields, waiting: int, buffer_bytes: int) -> bool:
        """Whether a flood has an event counted instead of kept. Waits a moment in a flood.

        Arguments:
            waiting: how many events are in the inbox.
            buffer_bytes: of large payloads that may wait before their emitters are slowed down.
        """
        size = len(fields[PAYLOAD])
        if not self.is_flooded(waiting, size, buffer_bytes) or fields[KIND] not in DROPPABLE_KINDS:
            return False
        with self._flood_lock:
            self.missing[fid] = self.missing.get(fid, 0) + 1
        self.count_large(-size)
        return True

    def is_flooded(self, waiting: int, size: int, buffer_bytes: int) -> bool:
        """Count a large payload, slow a flooding emitter down; True if it must be dropped."""
        large = self.count_large(size)
        if waiting <= INBOX_SOFT and large <= buffer_bytes:
            return False
        # Lets the delivering thread catch up; far shorter than a network round trip.
        time.sleep(0.001)
        return self.qsize() > INBOX_HARD or large > 2 * buffer_bytes

    def count_large(self, size: int) -> int:
        """Add to (or take from) the sum of large payloads that wait here, and return it."""
        with self._flood_lock:
            if abs(size) > LARGE:
                self._large += size
            return self._large

    def take_missing(self) -> dict[str, int]:
        """The events that were dropped since the last time, by execution."""
        with self._flood_lock:
            missing, self.missing = self.missing, {}
        return missing
