"""Who observes Prefect's runs, and which Runners there are, as the database knows it."""

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from kodosumi_prefect.database.rows.system import RunnerCount, Service
from kodosumi_prefect.stream.reader import Reader

SILENT = 60.0  # seconds after which an observer counts as gone
RUNNER_STATES = ("starting", "running", "lapsed")


async def observers(reader: Reader) -> list[Service]:
    """The observers that reported lately; they do so every 5 seconds."""
    rows = await reader.rows_of(Service, "services")
    return [row for row in rows if row.kind == "observer" and row.silent < SILENT]


async def report(reader: Reader) -> dict[str, Any]:
    """Who leads; without an observer runs go on, but their crashes are not recorded."""
    known = await observers(reader)
    leading = [row for row in known if row.info.get("leader")]
    if not leading:
        hint = f"no observer was seen to lead for {SILENT:g} s; "
        hint += "start `kodosumi-prefect observer` or `up`"
        return {"status": "not seen", "detail": hint, "standing_by": len(known)}
    # One that was killed is still among them for a while; its successor has reported since.
    leader = min(leading, key=lambda row: row.silent)
    prices = leader.info.get("prices")
    return ({} if prices is None else {"prices": prices}) | {
        "status": "ok",
        "leader": leader.name,
        "lag": leader.info.get("lag"),
        "standing_by": len(known) - len(leading),
    }


def metrics(known: Sequence[Service], runners: Sequence[RunnerCount]) -> Iterator[Metric]:
    """For Prometheus.

    Arguments:
        known: from ``observers``.
        runners: how many there are in which state.
    """
    leader = GaugeMetricFamily(
        "kodosumi_observer_leader", "Observers; 1: it leads.", labels=["name"]
    )
    lag = GaugeMetricFamily(
        "kodosumi_observer_lag_seconds", "How far the leading observer is behind Prefect's events."
    )
    leading = [row for row in known if row.info.get("leader")]
    newest = min(leading, key=lambda row: row.silent, default=None)
    for row in known:
        leader.add_metric([row.name], row is newest)
    if newest is not None:
        lag.add_metric([], newest.info.get("lag") or 0.0)
    yield leader
    yield lag
    counted = {count.state: count.runners for count in runners}
    states = GaugeMetricFamily(
        "kodosumi_runners", "Runners by state; lapsed: no worker answers for it.", labels=["state"]
    )
    for state in RUNNER_STATES:
        states.add_metric([state], counted.get(state, 0))
    yield states
