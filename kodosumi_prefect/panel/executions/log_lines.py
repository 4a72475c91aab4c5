"""Lines of an execution's log: their columns, and all of them as a text file."""

import asyncio
import heapq
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kodosumi_prefect.events import Kind
from kodosumi_prefect.panel.executions.offsets import offset_words
from kodosumi_prefect.panel.html.ansi import without_ansi
from kodosumi_prefect.panel.html.render import origin
from kodosumi_prefect.panel.html.uploads import upload_line
from kodosumi_prefect.stream.reader import Origin, Reader, StoredEvent

TRACEBACK = "Traceback (most recent call last):"
MAX_LEVEL = 10  # characters of a level's name
HELD = 20_000  # lines put in the order of their times at once
READ = 2000  # events read at once

# What stands in the column of levels for what was not logged.
_PLAIN = {Kind.STDOUT: "out", Kind.STDERR: "err", Kind.ERROR: "ERROR", Kind.UPLOAD: "upload"}


def level(kind: str, source: Mapping[str, Any] | None) -> str:
    """The level that a line was logged at, or which stream it was written to."""
    name = (source or {}).get("level")
    if isinstance(name, str) and name:
        return name[:MAX_LEVEL]
    return _PLAIN.get(Kind(kind), "") if kind in _PLAIN else ""


def is_trace(kind: str, payload: str) -> bool:
    """Whether a line holds a traceback, whichever attempt and stream it is of."""
    return kind == Kind.ERROR or TRACEBACK in payload


def clock(ts: float) -> str:
    """The time of day, UTC, with milliseconds."""
    return f"{datetime.fromtimestamp(ts, UTC):%H:%M:%S.%f}"[:-3]


async def text_file(
    reader: Reader,
    fid: str,
    *,
    until: int,
    kinds: Sequence[str],
    origin_: Origin,
    began: float,
    window: float,
) -> AsyncIterator[bytes]:
    """The log up to a seq as text, one line an event: time, offset, level, task, and what it says.

    Lines stand in the order of their times, as far as those are within ``window`` seconds of what
    was stored before; with 0 in the order they were stored. No more than some ``HELD`` are held.
    """
    ordered = _Ordered(window)
    cursor = 0
    while cursor < until:
        batch = await reader.page(fid, cursor, until=until, kinds=kinds, origin=origin_, limit=READ)
        # Some 60 ms for a batch, in which other requests go on.
        yield await asyncio.to_thread(_next_part, ordered, batch.events, began)
        if not batch.more or not batch.events:
            break
        cursor = batch.events[-1].seq
    yield b"".join(_written(event, began) for event in ordered.rest())


def _next_part(ordered: "_Ordered", events: Sequence[StoredEvent], began: float) -> bytes:
    for event in events:
        ordered.add(event)
    return b"".join(_written(event, began) for event in ordered.ready())


class _Ordered:
    """Events on their way into the order of their times, those of an attempt together."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._attempt = 0
        self._newest = float("-inf")
        self._held: list[tuple[int, float, int, StoredEvent]] = []

    def add(self, event: StoredEvent) -> None:
        if event.attempt > self._attempt:
            self._attempt, self._newest = event.attempt, float("-inf")
        self._newest = max(self._newest, event.ts)
        at = max(event.ts, self._newest - self._window)
        heapq.heappush(self._held, (self._attempt, at, event.seq, event))

    def ready(self) -> Iterator[StoredEvent]:
        """Those that nothing which is yet to come goes ahead of, and what is too many to hold."""
        while self._held and (
            self._held[0][0] < self._attempt
            or self._held[0][1] <= self._newest - self._window
            or len(self._held) > HELD
        ):
            yield heapq.heappop(self._held)[3]

    def rest(self) -> Iterator[StoredEvent]:
        while self._held:
            yield heapq.heappop(self._held)[3]


def _written(event: StoredEvent, began: float) -> bytes:
    time = f"{datetime.fromtimestamp(event.ts, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    columns = (
        time,
        f"{offset_words(event.ts - began):>11}",
        f"{level(event.kind, event.source):<8}",
        origin(event.source) or "-",
        line_text(event),
    )
    return "  ".join(columns).encode() + b"\n"


def line_text(event: StoredEvent) -> str:
    """What a line says, without terminal colours."""
    if event.kind == Kind.UPLOAD:
        try:
            return upload_line(json.loads(event.payload))
        except ValueError:
            return event.payload
    return without_ansi(event.payload)
