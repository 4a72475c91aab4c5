"""How busy workers and their clusters were in the last hour.

Workers report every ten seconds how many runs they have, and what of their cluster is taken. Panels
write that down twice a minute, in one row that all of them share.
"""

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import psycopg

from kodosumi_prefect.database.rows.system import Service, Utilisation
from kodosumi_prefect.stream.reader import Reader

EVERY = 30.0  # seconds between samples
SPAN = 3600.0  # seconds that charts show
SILENT = 60.0  # seconds without a report after which a worker counts as gone
GAP = 4 * EVERY  # seconds without a sample after which a line is broken

logger = logging.getLogger(__name__)


class Kind(NamedTuple):
    """Something that is used, and what there is of it.

    Attributes:
        name, total: names of figures.
        title: for people; ``unit``: what is counted.
    """

    name: str
    total: str
    title: str
    unit: str


KINDS = (
    Kind("runs", "places", "Runs on workers", "runs"),
    Kind("cpu", "cpus", "Processors reserved in Ray", "CPUs"),
    Kind("gpu", "gpus", "Graphics cards reserved in Ray", "GPUs"),
)


class Chart(NamedTuple):
    """A line over the last hour, in percent of width and height.

    Attributes:
        now, total: the newest figures; ``total`` is None if there is no limit.
        lines: points of polylines, broken where nothing was reported.
        top: what 100 % of the height stand for.
        limit: height of the line that stands for ``total``, from above.
    """

    kind: Kind
    now: float
    total: float | None
    highest: float
    lines: list[str]
    top: float
    limit: float | None


def figures(services: Iterable[Service]) -> dict[str, float]:
    """What workers report now; nothing if none does."""
    workers = [row for row in services if row.kind == "worker" and row.silent <= SILENT]
    if not workers:
        return {}
    sums: dict[str, float] = {"runs": sum(row.info.get("runs", 0) for row in workers)}
    limits = [row.info.get("limit") for row in workers]
    if all(limit is not None for limit in limits):
        sums["places"] = sum(limit or 0 for limit in limits)
    # Workers of one cluster tell the same of it.
    clusters = {
        json.dumps(row.info["cluster"], sort_keys=True): row
        for row in workers
        if row.info.get("cluster")
    }
    for name, used, total in (("CPU", "cpu", "cpus"), ("GPU", "gpu", "gpus")):
        there = sum(_total(row, name) for row in clusters.values())
        if there and any(name in row.info.get("used", {}) for row in clusters.values()):
            sums[total] = there
            sums[used] = sum(row.info.get("used", {}).get(name, 0.0) for row in clusters.values())
    return sums


def charts(rows: list[Utilisation], now: float) -> list[Chart]:
    """A chart for each kind that was ever reported in the last hour."""
    drawn = (_chart(kind, rows, now) for kind in KINDS)
    return [chart for chart in drawn if chart is not None]


class Sampler:
    """Writes down how busy everything is, for as long as a panel runs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def run(self) -> None:
        """Until it is cancelled; while the database is away nothing is written down."""
        while True:
            try:
                await self.sample(time.time())
            except (psycopg.Error, OSError, TimeoutError) as exc:
                logger.debug("utilisation is not written down now: %s", exc)
            await asyncio.sleep(EVERY - time.time() % EVERY)

    async def sample(self, at: float) -> None:
        """Write down what is reported at this moment, unless another panel did."""
        told = figures(await self._reader.rows_of(Service, "services"))
        if told:
            rounded = at // EVERY * EVERY
            await self._reader.execute("add_utilisation", at=rounded, figures=json.dumps(told))


async def last_hour(reader: Reader) -> dict[str, Any]:
    """The charts of the last hour, for the page."""
    now = time.time()
    rows = await reader.rows_of(Utilisation, "utilisation", since=now - SPAN)
    return {"status": "ok", "charts": charts(rows, now), "rows": len(rows)}


def _total(row: Service, name: str) -> float:
    return float(sum(node["resources"].get(name, 0.0) for node in row.info["cluster"]))


def _chart(kind: Kind, rows: list[Utilisation], now: float) -> Chart | None:
    known = [row for row in rows if kind.name in row.figures]
    if not known:
        return None
    total = known[-1].figures.get(kind.total)
    highest = max(row.figures[kind.name] for row in known)
    top = max(highest, total or 0.0, 1.0)
    lines: list[list[str]] = []
    last = float("-inf")
    for row in known:
        if row.at - last > GAP:
            lines.append([])
        last = row.at
        x = 100 * (1 - (now - row.at) / SPAN)
        lines[-1].append(f"{max(x, 0):.2f},{100 * (1 - row.figures[kind.name] / top):.2f}")
    for line in lines:
        if len(line) == 1:  # seen as a short stroke
            across, _, down = line[0].partition(",")
            line.append(f"{float(across) + 0.6:.2f},{down}")
    limit = 100 * (1 - total / top) if total else None
    return Chart(
        kind,
        known[-1].figures[kind.name],
        total,
        highest,
        [" ".join(line) for line in lines],
        top,
        limit,
    )
