"""What one event costs its author, beside one line of Prefect's own logger."""

import time

from prefect import get_run_logger

from kodosumi_prefect import Tracer, flow
from tests.benchmarks.harness import report

EVENTS = 20_000
LINES = 2_000
TEXT = "x" * 100


@flow
def emit_and_log(tracer: Tracer) -> tuple[float, float]:
    began = time.perf_counter()
    for _ in range(EVENTS):
        tracer.debug(TEXT)
    event = (time.perf_counter() - began) / EVENTS
    tracer.flush_sync()
    logger = get_run_logger()
    began = time.perf_counter()
    for _ in range(LINES):
        logger.info(TEXT)
    line = (time.perf_counter() - began) / LINES
    return event, line


def run() -> None:
    # The console would be what is measured, not the logger.
    event, line = emit_and_log()
    report(
        "cost to the caller (100 bytes, in one flow)",
        {
            "tracer.debug": f"{event * 1e6:8.1f} µs   (at most 10 µs)",
            "get_run_logger().info, recorded by us too": f"{line * 1e6:8.1f} µs",
            "the logger costs": f"{line / event:8.0f} times as much",
        },
    )
