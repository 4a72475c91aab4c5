"""Task runs over time: bars on one axis, in percent of its length."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from kodosumi_prefect.panel.web.templating import duration

Item = dict[str, Any]

TICKS = 6  # at most
NARROWEST = 0.4  # percent, so that the shortest task run is seen
SHORTEST = timedelta(milliseconds=100)  # of an axis
STEPS = (
    *(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400),
)  # seconds between ticks
# Class names that the panel colours statuses by.
LOOKS = {
    "COMPLETED": "finished",
    "FAILED": "error",
    "CRASHED": "error",
    "CANCELLED": "cancelled",
    "RUNNING": "running",
    "CANCELLING": "awaiting",
    "PAUSED": "awaiting",
}


class Stretch(NamedTuple):
    """A time in which a task run ran; ``end`` is None while it does, ``state`` is how it ended."""

    start: datetime
    end: datetime | None
    state: str | None


class Bar(NamedTuple):
    """A stretch on the axis, in percent."""

    x: float
    width: float
    look: str


class Tick(NamedTuple):
    """A point of the axis, in percent, and the time since its beginning in words."""

    x: float
    words: str


class Line(NamedTuple):
    """A task run and its bars."""

    item: Item
    look: str
    bars: list[Bar]
    start: datetime | None
    seconds: float | None
    live: bool


class Gantt(NamedTuple):
    """Lines in the order the task runs began, and the axis all of them stand on."""

    lines: list[Line]
    ticks: list[Tick]
    start: datetime | None


def look(state: str | None) -> str:
    """The class that a Prefect state type is coloured by."""
    return LOOKS.get(state or "", "starting")


def gantt(
    items: Sequence[Item],
    on_page: slice,
    *,
    began: datetime | None,
    ended: datetime | None,
    attempts: Mapping[str, Sequence[Stretch]],
) -> Gantt:
    """The chart of those ``items`` that are ``shown``, on an axis that all of them fit on.

    Arguments:
        items: as ``task_runs`` gives them.
        began: when the execution began, if it did.
        ended: when it ended; None while it runs.
        attempts: the stretches of task runs that ran more than once, by id.
    """
    now = ended or datetime.now(UTC)
    stretches = [_stretches(item, attempts, live=ended is None) for item in items]
    known = [one for each in stretches for one in each]
    if not known:
        return Gantt([_line(item, [], None, now, SHORTEST) for item in items[on_page]], [], None)
    start = min([one.start for one in known] + ([began] if began else []))
    end = max([one.end or now for one in known] + [one.start for one in known])
    length = max(end - start, SHORTEST)
    lines = [
        _line(item, each, start, now, length)
        for item, each in zip(items[on_page], stretches[on_page], strict=True)
    ]
    return Gantt(lines, _ticks(length.total_seconds()), start)


def moment(text: str | None) -> datetime | None:
    """A point in time from ISO 8601."""
    return datetime.fromisoformat(text) if text else None


def _stretches(
    item: Item, attempts: Mapping[str, Sequence[Stretch]], *, live: bool
) -> Sequence[Stretch]:
    if tries := attempts.get(item["id"]):
        return tries
    start, end = moment(item["start_time"]), moment(item["end_time"])
    if start is None:
        return []
    if end is None and not (live and item["state_type"] in (None, "RUNNING", "CANCELLING")):
        # Nobody knows how long it went on: the run is over, or it waits to be tried again.
        end = start
    return [Stretch(start, end, item["state_type"])]


def _line(
    item: Item,
    stretches: Sequence[Stretch],
    start: datetime | None,
    now: datetime,
    length: timedelta,
) -> Line:
    bars = []
    for one in stretches:
        assert start is not None  # an axis begins no later than what stands on it
        x = 100 * (one.start - start) / length
        width = max(100 * (max(one.end or now, one.start) - one.start) / length, NARROWEST)
        x = min(max(x, 0.0), 100 - NARROWEST)
        bars.append(Bar(round(x, 3), round(min(width, 100 - x), 3), look(one.state)))
    live = bool(stretches) and stretches[-1].end is None
    first = stretches[0].start if stretches else None
    last = (stretches[-1].end or now) if stretches else None
    seconds = (last - first).total_seconds() if first is not None and last is not None else None
    return Line(item, look(item["state_type"]), bars, first, seconds, live)


def _ticks(seconds: float) -> list[Tick]:
    days = 86_400.0
    while seconds / days > TICKS - 1:
        days *= 2
    step = next((step for step in STEPS if seconds / step <= TICKS - 1), days)
    # None so near the end that its words would not fit.
    count = int(seconds * 0.97 / step)
    return [Tick(round(100 * n * step / seconds, 3), _words(n * step)) for n in range(count + 1)]


def _words(seconds: float) -> str:
    if seconds == 0:
        return "0"
    if seconds < 10:
        return f"{seconds:.3g} s"
    return duration(seconds).removesuffix(" 0 s").removesuffix(" 0 min").removesuffix(" 0 h")
