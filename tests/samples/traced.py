"""A flow whose spans lie in its process, in Prefect tasks, in Ray functions and in Ray actors."""

from typing import Any

import ray
from prefect import task

from kodosumi_prefect import Tracer, flow, tracer


@task
def named_task(number: int) -> int:
    with tracer.span(f"in-task-{number}", type="tool"):
        return number


@ray.remote
def function(given: Tracer) -> None:
    with given.span("in-function", type="tool"):
        pass


@ray.remote
class Actor:
    def call(self, given: Tracer) -> None:
        with given.llm("m-1") as call:
            call.set(usage={"input": 10, "output": 1}, cost=0.5)


@flow
def traced(inputs: dict[str, Any], tracer: Tracer) -> str:
    with tracer.span("agent", type="agent"):
        futures = named_task.map([1, 2])
        ray.get(function.remote(tracer))
        ray.get(Actor.remote().call.remote(tracer))
        futures.result()
    return "done"
