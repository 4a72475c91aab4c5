"""Cutting what was emitted into numbered batches, with what is known about each execution."""

import time
from uuid import uuid4

from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.spooler.batch import Batch, Fields, Header
from kodosumi_prefect.spooler.inbox import Emitted

KNOWN_EXECUTIONS = 10_000  # whose batch numbers a client remembers before it starts over


class Freezing:
    """The executions of one client, and the number of the next batch of each.

    Attributes:
        writer: whose batches are numbered.
        headers: what is known about executions.
        live: executions that this process runs.
    """

    def __init__(self) -> None:
        self.writer = str(uuid4())
        self._numbers: dict[str, int] = {}
        self.headers: dict[str, Header] = {}
        self._earlier_headers: dict[str, Header] = {}
        self.live: set[str] = set()

    def freeze(self, emitted: list[Emitted], missing: dict[str, int]) -> list[Batch]:
        """The batches of a delivery.

        Arguments:
            missing: stdio events that were dropped, by execution.
        """
        by_fid: dict[str, list[Fields]] = {}
        alive: dict[str, bool | None] = {}
        for fid, fields, lives in emitted:
            by_fid.setdefault(fid, []).append(fields)
            alive[fid] = lives if lives is not None else alive.get(fid)
        for fid, count in missing.items():
            by_fid.setdefault(fid, []).append(missing_event(count))
            alive.setdefault(fid, None)
        batches = []
        for fid, events in by_fid.items():
            number = self._numbers[fid] = self._numbers.get(fid, 0) + 1
            header = self.headers.get(fid) or self._earlier_headers.get(fid) or Header()
            lives = alive[fid]
            if lives is None and fid in self.live:
                lives = True
            batches.append(Batch(fid, self.writer, number, header, events, lives))
        return batches

    def forget(self) -> None:
        """With everything delivered, continue as a new writer without ended executions."""
        if len(self._numbers) < KNOWN_EXECUTIONS and len(self.headers) < KNOWN_EXECUTIONS:
            return
        self.writer = str(uuid4())
        self._numbers.clear()
        # Headers live on once more: an event that was described may be on its way just now.
        headers, self.headers = self.headers, {}
        lasting = self._earlier_headers | headers
        self.headers.update({fid: lasting[fid] for fid in self.live.copy() if fid in lasting})
        self._earlier_headers = headers


def missing_event(count: int) -> Event:
    text = f"[{count:,} stdio events are missing here: they came faster than they could be kept]"
    return Event(time.time(), Kind.STDERR, text, source=f'{{"missing":{count}}}')
