"""How fast Spoolers store events, from the sums that they report every ten seconds."""

import time
from collections import deque
from typing import NamedTuple

from kodosumi_prefect.database.rows.system import Service

WINDOW = 60.0  # seconds over which a rate is taken


class Rate(NamedTuple):
    """The rate of a Spooler.

    Attributes:
        events: stored in a second.
        seconds: that one append took; None if there was none.
    """

    events: float
    seconds: float | None


class _Report(NamedTuple):
    at: float  # monotonic seconds
    events: int
    appends: int
    seconds: float


class Rates:
    """Remembers each Spooler's reports of the last minute, as often as somebody looks."""

    def __init__(self) -> None:
        self._reports: dict[str, deque[_Report]] = {}

    def of(self, spooler: Service) -> Rate | None:
        """The rate of a Spooler; None the first time, and after it was restarted."""
        info = spooler.info
        at = time.monotonic() - spooler.silent
        new = _Report(at, info["events"], info["appends"], info["seconds"])
        known = self._reports.setdefault(spooler.name, deque())
        if known and new.appends < known[-1].appends:
            known.clear()
        # Reports come every ten seconds; their timing varies a little.
        if not known or new.at - known[-1].at > 1.0:
            known.append(new)
        while len(known) > 2 and new.at - known[1].at > WINDOW:
            known.popleft()
        if len(known) < 2:
            return None
        old, new = known[0], known[-1]
        appends = new.appends - old.appends
        took = (new.seconds - old.seconds) / appends if appends else None
        return Rate((new.events - old.events) / (new.at - old.at), took)
