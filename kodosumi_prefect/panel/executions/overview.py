"""What stands above the list: how many runs there are by status, and when they began."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kodosumi_prefect.database.rows.executions import RunsOverTime
from kodosumi_prefect.panel.executions.list_filter import LOOKS, ListFilter

BARS = 48  # at most
WIDTH, GAP, HEIGHT = 20, 4, 56  # of a bar and between bars, and of the highest, in pixels
LEAST = 2.0  # pixels of a part of a bar, so that the one failed among thousands is seen
# Seconds of a bar; from a second to a year.
STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0),
    *(1_209_600.0, 2_592_000.0, 7_776_000.0, 31_536_000.0),
)
UNFINISHED = ("starting", "running", "awaiting")
STACKED = ("error", "cancelled", "awaiting", "starting", "running", "finished")  # from the top


class Part(NamedTuple):
    """The runs of one status in a bar; ``y`` and ``height`` in pixels."""

    look: str
    y: float
    height: float


class Bar(NamedTuple):
    """A stretch of time; ``x`` in pixels, ``words`` its counts in words."""

    x: int
    since: str
    until: str
    total: int
    words: str
    parts: Sequence[Part]
    address: str


def overview(rows: Sequence[RunsOverTime], filter_: ListFilter) -> dict[str, Any]:
    """What ``_overview.html`` draws.

    Arguments:
        rows: of ``Listing.over_time``, at least one.
    """
    since, until, step = rows[0].since, rows[0].until, rows[0].step
    counts = dict.fromkeys(LOOKS, 0)
    wanted = filter_.looks or LOOKS
    first = int(since // step)
    number = max(int(until // step) - first + 1, 1)
    stretches: list[dict[str, int]] = [{} for _ in range(number)]
    for row in rows:
        if row.status is None or row.bar is None:
            continue
        counts[row.status] = counts.get(row.status, 0) + row.executions
        place = row.bar - first
        if row.status in wanted and 0 <= place < number:
            stretches[place][row.status] = stretches[place].get(row.status, 0) + row.executions
    highest = max((sum(one.values()) for one in stretches), default=0)
    bars = [
        _bar(n, (first + n) * step, step, one, highest, filter_)
        for n, one in enumerate(stretches)
        if one
    ]
    total = sum(counts.get(look, 0) for look in wanted)
    unfinished = [look for look in UNFINISHED if look in wanted]
    return {
        "bars": bars,
        "width": number * WIDTH,
        "bar_width": WIDTH,
        "height": HEIGHT,
        "highest": highest,
        "begins": datetime.fromtimestamp(since, UTC),
        "ends": datetime.fromtimestamp(until, UTC),
        "total": total,
        "more": rows[0].more,
        "all": sum(counts.values()),
        "counts": [(look, counts[look]) for look in LOOKS],
        "unfinished": sum(counts[look] for look in unfinished),
        "unfinished_address": _unfinished(filter_, unfinished),
    }


def _unfinished(filter_: ListFilter, looks: Sequence[str]) -> str:
    pairs = [pair for pair in filter_.pairs if pair[0] != "status"]
    return filter_._replace(pairs=[*pairs, *(("status", look) for look in looks)]).address()


def _bar(
    n: int, since: float, step: float, stretch: dict[str, int], highest: int, filter_: ListFilter
) -> Bar:
    total = sum(stretch.values())
    parts: list[Part] = []
    y = float(HEIGHT)
    for look in reversed([look for look in STACKED if stretch.get(look)]):
        height = max(stretch[look] / highest * (HEIGHT - LEAST * len(STACKED)), LEAST)
        y -= height
        parts.append(Part(look, round(y, 2), round(height, 2)))
    start, end = (
        datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        for at in (since, since + step)
    )
    words = ", ".join(f"{stretch[look]:,} {look}" for look in STACKED if stretch.get(look))
    return Bar(n * WIDTH + GAP // 2, start, end, total, words, parts, filter_.within(start, end))
