"""Task runs over time: bars on one axis, in percent of its length."""

from collections.abc import Iterable, Mapping, Sequence
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


def look(state: str | None) -> str:
    """The class that a Prefect state type is coloured by."""
    return LOOKS.get(state or "", "starting")


class Axis:
    """What all bars of a chart stand on.

    Arguments:
        items: all that have to fit on it, as ``task_runs`` gives them.
        began: when the execution began, if it did.
        ended: when it ended; None while it runs.
        attempts: the stretches of task runs that ran more than once, by id.

    Attributes:
        start: its beginning; None if nothing began yet.
        ticks: its marks.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        began: datetime | None,
        ended: datetime | None,
        attempts: Mapping[str, Sequence[Stretch]],
    ) -> None:
        self._now = ended or datetime.now(UTC)
        self._attempts = attempts
        self._live = ended is None
        self._known: dict[str, Sequence[Stretch]] = {}  # by task run
        known = [one for item in items for one in self._stretches(item)]
        self.start: datetime | None = None
        self.ticks: list[Tick] = []
        if not known:
            return
        self.start = min([one.start for one in known] + ([began] if began else []))
        end = max([one.end or self._now for one in known] + [one.start for one in known])
        self._length = max(end - self.start, SHORTEST)
        self.ticks = _ticks(self._length.total_seconds())

    def line(self, item: Item) -> Line:
        """A task run and its bars."""
        stretches = self._stretches(item)
        bars = [self._bar(one) for one in stretches]
        live = bool(stretches) and stretches[-1].end is None
        first = stretches[0].start if stretches else None
        last = (stretches[-1].end or self._now) if stretches else None
        seconds = (last - first).total_seconds() if first is not None and last is not None else None
        return Line(item, look(item["state_type"]), bars, first, seconds, live)

    def many(self, items: Iterable[Item], shape: str) -> list[Bar]:
        """When any of ``items`` ran, with those that failed on top."""
        bars = sorted(self._bar(one) for item in items for one in self._stretches(item))
        together: list[Bar] = []
        for bar in bars:
            last = together[-1] if together else None
            if last is not None and bar.x <= last.x + last.width + NARROWEST:
                width = max(last.width, bar.x + bar.width - last.x)
                together[-1] = Bar(last.x, round(width, 3), shape)
            else:
                together.append(Bar(bar.x, bar.width, shape))
        failed = {round(bar.x + bar.width, 1) for bar in bars if bar.look == "error"}
        if shape != "error" and not failed:
            return together
        plain = [bar._replace(look="finished") for bar in together] if failed else together
        return plain + [
            Bar(max(round(at - NARROWEST, 3), 0), NARROWEST, "error") for at in sorted(failed)
        ]

    def _stretches(self, item: Item) -> Sequence[Stretch]:
        if item["id"] not in self._known:
            self._known[item["id"]] = self._read(item)
        return self._known[item["id"]]

    def _read(self, item: Item) -> Sequence[Stretch]:
        if tries := self._attempts.get(item["id"]):
            return tries
        start, end = moment(item["start_time"]), moment(item["end_time"])
        if start is None:
            return []
        if end is None and not (
            self._live and item["state_type"] in (None, "RUNNING", "CANCELLING")
        ):
            # Nobody knows how long it went on: the run is over, or it waits to be tried again.
            end = start
        return [Stretch(start, end, item["state_type"])]

    def _bar(self, one: Stretch) -> Bar:
        assert self.start is not None  # it begins no later than what stands on it
        x = 100 * (one.start - self.start) / self._length
        width = 100 * (max(one.end or self._now, one.start) - one.start) / self._length
        x = min(max(x, 0.0), 100 - NARROWEST)
        return Bar(round(x, 3), round(min(max(width, NARROWEST), 100 - x), 3), look(one.state))


def moment(text: str | None) -> datetime | None:
    """A point in time from ISO 8601."""
    return datetime.fromisoformat(text) if text else None


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
