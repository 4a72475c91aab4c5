"""A flow of which four functions on Ray call models, five calls at a time each."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from kodosumi_prefect import BudgetExceededError, Tracer, flow

FUNCTIONS, AT_ONCE = 4, 5


def calls(tracer: Tracer) -> int:
    """Call a model until that is refused; how many calls were made."""
    for made in range(1000):
        try:
            with tracer.llm("m-1") as call:
                time.sleep(0.02)
                call.set(usage={"input": 8, "output": 2})
        except BudgetExceededError:
            return made
    return 1000


@ray.remote(num_cpus=0)
def several(tracer: Tracer) -> int:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(calls, [tracer] * AT_ONCE))


@flow
def spending(inputs: dict[str, Any], tracer: Tracer) -> int:
    return sum(ray.get([several.remote(tracer) for _ in range(FUNCTIONS)]))
