"""What one span costs its author, beside a span of OpenTelemetry that nobody records."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider

from kodosumi_prefect import Tracer, flow
from tests.benchmarks.harness import report

SPANS = 5_000
ROUNDS = 3
LIMIT = 25.0  # µs beside one of no use


def _cost(make: Callable[[], AbstractContextManager[Any]]) -> float:
    """Seconds of one, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(SPANS):
            with make():
                pass
        best = min(best, (time.perf_counter() - began) / SPANS)
    return best


def _sdk() -> float:
    sdk = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    return _cost(lambda: sdk.start_as_current_span("s"))


@flow
def spans(tracer: Tracer) -> dict[str, float]:
    nothing = NoOpTracerProvider().get_tracer("bench")
    sdk = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    costs = {
        "a no-op span of OpenTelemetry": _cost(lambda: nothing.start_as_current_span("s")),
        "tracer.span": _cost(lambda: tracer.span("s", type="tool")),
    }
    tracer.flush_sync()
    costs["tracer.llm with input and output"] = _cost(
        lambda: tracer.llm("m-1", input="What is it?", provider="p")
    )
    tracer.flush_sync()
    costs["a span of OpenTelemetry's SDK, recorded by us"] = _cost(
        lambda: sdk.start_as_current_span("s")
    )
    tracer.flush_sync()
    return costs


def run() -> None:
    """Print the figures."""
    costs = {"a span of OpenTelemetry's SDK, outside of a run": _sdk()} | spans()
    bare = min(costs.values())
    report(
        f"cost of a span to the caller ({SPANS:,} spans, best of {ROUNDS})",
        {
            name: f"{cost * 1e6:8.1f} µs, {(cost - bare) * 1e6:.1f} more"
            + (f"   (at most {LIMIT:.0f} more)" if name == "tracer.span" else "")
            for name, cost in costs.items()
        },
    )
