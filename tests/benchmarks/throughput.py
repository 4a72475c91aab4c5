"""Flat out: events from one flow until they are readable, beside a raw COPY of the same rows."""

import time
from typing import Any

from prefect.runtime import flow_run

from kodosumi_prefect import Tracer, flow
from tests.benchmarks.harness import connect, report

EVENTS = 100_000
TEXT = "x" * 100
# The same shape as the table of events, partitions included.
RAW = """
DROP TABLE IF EXISTS bench_raw;
CREATE TABLE bench_raw (LIKE kodosumi.event INCLUDING ALL) PARTITION BY RANGE (execution_id);
CREATE TABLE bench_raw_0 PARTITION OF bench_raw FOR VALUES FROM (0) TO (1000);
"""
COUNT = """
SELECT count(*), min(seq), max(seq) FROM kodosumi.event
WHERE kind = 'debug' AND execution_id = (SELECT id FROM kodosumi.execution WHERE fid = %s)
"""


@flow
def flat_out(url: str, tracer: Tracer) -> dict[str, Any]:
    tracer.flush_sync()
    began = time.perf_counter()
    for _ in range(EVENTS):
        tracer.debug(TEXT)
    emitted = time.perf_counter() - began
    assert tracer.flush_sync(120)
    with connect(url) as connection:
        count, first, last = connection.execute(COUNT, (flow_run.get_id(),)).fetchone()
        readable = time.perf_counter() - began
        assert count == EVENTS, count
        assert last - first == EVENTS - 1, "the stream has a gap"
    return {"emitted": emitted, "readable": readable}


def raw_copy(url: str) -> float:
    """Seconds that the same rows take by COPY, rows given as Python values."""
    with connect(url) as connection:
        connection.execute(RAW)
        row = ("2026-01-01 00:00:00+00", "debug", TEXT, 1, '{"node":"here","pid":12345}')
        began = time.perf_counter()
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY bench_raw (execution_id, seq, ts, kind, payload, attempt, source) FROM STDIN"
            ) as copy,
        ):
            for seq in range(EVENTS):
                copy.write_row((1, seq, *row))
        return time.perf_counter() - began


def run(url: str) -> None:
    raw_copy(url)
    copies = sorted(raw_copy(url) for _ in range(3))
    runs = sorted((flat_out(url) for _ in range(3)), key=lambda found: found["readable"])
    ours, raw = runs[1], copies[1]
    report(
        f"flat out ({EVENTS:,} events of 100 bytes, median of 3)",
        {
            "emit to durable and readable": f"{EVENTS / ours['readable']:10,.0f} events/s",
            "emit alone": f"{EVENTS / ours['emitted']:10,.0f} events/s",
            "raw COPY of the same rows": f"{EVENTS / raw:10,.0f} rows/s",
            "ours beside raw COPY": f"{raw / ours['readable']:10.0%}   (at least 30 %)",
        },
    )
