"""A flow whose spans lie in its process, in Prefect tasks, in Ray functions and in Ray actors."""

from functools import cache
from typing import Any

import ray
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prefect import task

from kodosumi_prefect import Tracer, flow, tracer


@cache  # each process makes its own: a provider of OpenTelemetry's SDK cannot be pickled
def own() -> trace.Tracer:
    """A provider's that an author made, beside the global one that instrumentations take."""
    return TracerProvider(shutdown_on_exit=False).get_tracer("own")


def theirs() -> trace.Tracer:
    return trace.get_tracer("theirs")


@task
def named_task(number: int) -> int:
    with (
        own().start_as_current_span(f"own-{number}"),
        tracer.span(f"in-task-{number}", type="tool"),
    ):
        return number


@ray.remote
def function(given: Tracer) -> None:
    with given.span("in-function", type="tool"), theirs().start_as_current_span("theirs"):
        pass


@ray.remote
class Actor:
    def call(self, given: Tracer) -> None:
        with given.llm("m-1") as call:
            call.set(usage={"input": 10, "output": 1}, cost=0.5)


@flow
def traced(inputs: dict[str, Any], tracer: Tracer) -> str:
    with tracer.span("agent", type="agent"), own().start_as_current_span("around"):
        futures = named_task.map([1, 2])
        ray.get(function.remote(tracer))
        ray.get(Actor.remote().call.remote(tracer))
        futures.result()
    return "done"
