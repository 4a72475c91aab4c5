"""What a Spooler counts: appends and how long they took, and what its clients still hold."""

import time
from bisect import bisect_left
from typing import Any

from kodosumi_prefect.spooler.transport import Backlog

# Upper bounds in seconds; one more bucket holds what took longer.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LATELY = 60.0  # seconds for which a client counts after its last call


class Figures:
    """Counts since the process started. Changed by one thread, read by others."""

    def __init__(self) -> None:
        self._events = 0
        self._errors = 0
        self._seconds = 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._backlogs: dict[str, tuple[float, Backlog]] = {}

    def hear(self, client: str, backlog: Backlog) -> None:
        """A client called, and reported what it has not delivered yet."""
        self._backlogs[client] = (time.monotonic(), backlog)

    def appended(self, events: int, seconds: float) -> None:
        """A delivery was stored ``seconds`` after it arrived."""
        self._events += events
        self._seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1

    def failed(self) -> None:
        """A delivery was not stored; its client got the reason."""
        self._errors += 1

    def values(self) -> dict[str, Any]:
        """All of it as JSON takes it; forgets clients that have been silent."""
        since = time.monotonic() - LATELY
        for client, (heard, _) in list(self._backlogs.items()):
            if heard < since:
                self._backlogs.pop(client, None)
        backlogs = [backlog for _, backlog in list(self._backlogs.values())]
        return {
            "appends": sum(self._buckets),
            "events": self._events,
            "errors": self._errors,
            "seconds": self._seconds,
            "buckets": list(self._buckets),
            "bounds": list(BUCKETS),
            "clients": len(backlogs),
            "buffered_events": sum(backlog.events for backlog in backlogs),
            "buffered_bytes": sum(backlog.bytes for backlog in backlogs),
            "spilled_bytes": sum(backlog.spilled for backlog in backlogs),
        }
