"""What waits in the inbox of a spool client: events, and who waits behind them."""

import threading
from typing import NamedTuple

from kodosumi_prefect.events import Event
from kodosumi_prefect.spooler.batch import Fields

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
