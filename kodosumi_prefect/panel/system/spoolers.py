"""The Spoolers of Ray clusters, as they report themselves in the database every 10 seconds."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from kodosumi_prefect.database.rows.system import Service
from kodosumi_prefect.stream.reader import Reader

SILENT = 30.0  # seconds without a report after which a Spooler counts as gone

_GAUGES = {
    "connections": ("kodosumi_spooler_connections", "Connections it has to Postgres."),
    "clients": ("kodosumi_spooler_clients", "Processes that called it within a minute."),
    "buffered_events": (
        "kodosumi_client_buffer_events",
        "Events that those processes hold in memory, not delivered yet.",
    ),
    "buffered_bytes": ("kodosumi_client_buffer_bytes", "Size of those events."),
    "spilled_bytes": ("kodosumi_client_spill_bytes", "Bytes in their spill files."),
}


async def spoolers(reader: Reader) -> list[Service]:
    """Those that reported within a day."""
    return [row for row in await reader.rows_of(Service, "services") if row.kind == "spooler"]


def health(services: list[Service]) -> dict[str, Any]:
    """Their state; none is fine: without Ray workers nothing needs one."""
    silent = [row.name for row in services if row.silent > SILENT]
    return {
        "status": "silent" if silent else "ok" if services else "none",
        "silent": silent,
        "actors": [
            {
                "name": row.name,
                "host": row.host,
                "version": row.version,
                "heard": round(row.silent, 1),
                "connections": row.info.get("connections"),
                "clients": row.info.get("clients"),
            }
            for row in services
        ],
    }


def metrics(services: list[Service]) -> Iterator[Metric]:
    """Their figures for Prometheus; of silent ones only that they are silent."""
    silence = GaugeMetricFamily(
        "kodosumi_spooler_silent_seconds", "Since its last report.", labels=["spooler"]
    )
    for row in services:
        silence.add_metric([row.name], row.silent)
    yield silence
    live = [row for row in services if row.silent <= SILENT]
    seconds = HistogramMetricFamily(
        "kodosumi_spooler_append_seconds",
        "From a delivery's arrival at the Spooler until it is stored.",
        labels=["spooler"],
    )
    events = CounterMetricFamily(
        "kodosumi_spooler_events", "Events that it stored since it started.", labels=["spooler"]
    )
    errors = CounterMetricFamily(
        "kodosumi_spooler_errors", "Deliveries that it could not store.", labels=["spooler"]
    )
    for row in live:
        name, info = [row.name], row.info
        seconds.add_metric(name, _buckets(info), info["seconds"])
        events.add_metric(name, info["events"])
        errors.add_metric(name, info["errors"])
    yield from (seconds, events, errors)
    for figure, (metric, description) in _GAUGES.items():
        gauge = GaugeMetricFamily(metric, description, labels=["spooler"])
        for row in live:
            gauge.add_metric([row.name], row.info[figure])
        yield gauge


def _buckets(info: dict[str, Any]) -> list[tuple[str, float]]:
    """Upper bounds with how many were at or below each, as Prometheus counts."""
    bounds = [*(str(float(bound)) for bound in info["bounds"]), "+Inf"]
    sums: list[tuple[str, float]] = []
    for bound, count in zip(bounds, info["buckets"], strict=True):
        sums.append((bound, count + (sums[-1][1] if sums else 0)))
    return sums
