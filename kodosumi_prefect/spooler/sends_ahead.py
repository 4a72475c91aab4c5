"""Deliveries on their way to the cluster's Spooler behind one that is not answered yet."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any, NamedTuple, Protocol, runtime_checkable

from kodosumi_prefect.database.connection import ANSWER_TIMEOUT
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.spooler.transport import SpoolerAwayError

AHEAD = 0.03  # seconds after which newer events are sent behind an unanswered delivery
WINDOW = 16  # unanswered calls at most
WINDOW_BYTES = 8_000_000  # beyond this nothing more is sent ahead


@runtime_checkable
class SendsAhead(Protocol):
    """A transport whose other end keeps what it was sent, in order, though the sender is killed."""

    def send(self, batches: Sequence[Batch]) -> "Future[Any]":
        """Send one delivery; raises SpoolerAwayError if there is no Spooler to send it to."""

    def settle(self, sent: "Future[Any]") -> None:
        """Raise what ``append`` would have raised, once the answer is there."""


class _Flight(NamedTuple):
    transport: SendsAhead
    sent: "Future[Any]"
    deliveries: int
    size: int
    since: float


class Flights:
    """What was sent and is not answered yet, oldest first. Used by one thread.

    A process that is killed loses what it still holds. As long as the database is quick that is
    little; while it is slow, what comes meanwhile is better off with the Spooler.
    """

    def __init__(self) -> None:
        self._flights: deque[_Flight] = deque()

    @property
    def count(self) -> int:
        """How many of the client's deliveries are unanswered."""
        return sum(flight.deliveries for flight in self._flights)

    @property
    def full(self) -> bool:
        """Whether nothing more is sent before something is answered."""
        size = sum(flight.size for flight in self._flights)
        return len(self._flights) >= WINDOW or size >= WINDOW_BYTES

    @property
    def age(self) -> float:
        """Seconds since the oldest was sent; 0 if all are answered."""
        return time.monotonic() - self._flights[0].since if self._flights else 0.0

    def send(
        self, transport: SendsAhead, batches: Sequence[Batch], deliveries: int, size: int
    ) -> None:
        """Send batches, which are so many of the client's deliveries and bytes, about."""
        sent = transport.send(batches)
        self._flights.append(_Flight(transport, sent, deliveries, size, time.monotonic()))

    def settled(self) -> int:
        """Wait a little for the oldest.

        Returns:
            How many of the client's deliveries are stored by that; 0 if it is not answered yet.

        Raises:
            Exception: as ``Transport.append``. Everything has to be sent again then, by whatever
                way; what was stored all the same is not stored twice.
        """
        oldest = self._flights[0]
        until = oldest.since + ANSWER_TIMEOUT
        wait([oldest.sent], AHEAD)
        if not oldest.sent.done():
            if time.monotonic() < until:
                return 0
            self.forget()
            raise SpoolerAwayError(f"the Spooler did not answer within {ANSWER_TIMEOUT:g} s")
        try:
            oldest.transport.settle(oldest.sent)
        except BaseException:
            self.forget()
            raise
        self._flights.popleft()
        return oldest.deliveries

    def forget(self) -> None:
        """Stop waiting for answers; unanswered deliveries are sent again, or are on disk."""
        self._flights.clear()
