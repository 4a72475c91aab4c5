"""Flows that the tests of this folder deploy; run as a script, it deploys them."""

import json
import os
import sys
import time
from pathlib import Path
from uuid import UUID

from prefect import flow as prefect_flow
from prefect import task
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from kodosumi_prefect import BudgetExceededError, Tracer, flow, tracer


@flow
def ticking(ticks: int, tracer: Tracer) -> int:
    for number in range(ticks):
        tracer.debug(f"tick {number} {time.time():.6f}")
        time.sleep(0.02)
    return ticks


def tick(folder: str, name: str, tracer: Tracer) -> int:
    """Emit until there is a file ``stop``; what was emitted, and when, is in the file ``name``."""
    number = 0
    with (Path(folder) / name).open("w", buffering=1) as witness:
        while not (Path(folder) / "stop").exists():
            tracer.debug(f"{name} {number}")
            witness.write(f"{number} {time.time():.6f}\n")
            number += 1
            time.sleep(0.02)
    return number


@flow
def alone(folder: str, tracer: Tracer) -> int:
    return tick(folder, "flow", tracer)


@prefect_flow
def plain(folder: str) -> int:
    return tick(folder, "flow", tracer)


@task
def on_prefect(folder: str, tracer: Tracer) -> int:
    return tick(folder, "task", tracer)


@flow
def together(folder: str, tracer: Tracer) -> list[int]:
    """Emit from the flow, a Prefect task on Ray and a native Ray function at once."""
    import ray

    future = on_prefect.submit(folder, tracer)
    native = ray.remote(num_cpus=0)(tick).remote(folder, "native", tracer)
    return [tick(folder, "flow", tracer), future.result(), ray.get(native)]


@task
def sleeper(seconds: float) -> None:
    time.sleep(seconds)


@flow
def waiting_for_ray(tracer: Tracer) -> None:
    tracer.debug("before")
    sleeper.submit(300).result()


@flow
def failing_once(marker: str, tracer: Tracer) -> str:
    tracer.debug("trying")
    if not Path(marker).exists():
        Path(marker).touch()
        raise ValueError("not this time")
    return "this time"


def call_a_model(tracer: Tracer, dollars: float, seconds: float = 0.0) -> None:
    with tracer.llm("a-model") as call:
        time.sleep(seconds)
        call.set(usage={"input": 8, "output": 2}, cost=dollars)


@flow
def spending(tracer: Tracer, goes_on: bool = False) -> None:
    """Call models until that is refused, and then go on with something else, or not."""
    try:
        while True:
            call_a_model(tracer, 0.6)
    except BudgetExceededError:
        if not goes_on:
            raise
    time.sleep(300)


def environment() -> dict[str, str]:
    return dict(os.environ)


def own_flow_run() -> str:
    """The id of the flow run that this code is in, as Prefect tells it."""
    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(UUID(flow_run.get_id())).id)


@task
def environment_of_a_task() -> tuple[dict[str, str], str]:
    return environment(), own_flow_run()


@flow
def environments(path: str) -> None:
    """Write down what the environment is here, in a Prefect task on Ray and in a Ray function."""
    import ray

    there, asked = environment_of_a_task.submit().result()
    native = ray.get(ray.remote(num_cpus=0)(environment).remote())
    found = {"flow": environment(), "task": there, "native": native}
    Path(path).write_text(json.dumps(found | {"asked": {"flow": own_flow_run(), "task": asked}}))


ON_RAY = (
    *(ticking, waiting_for_ray, failing_once, alone, together, environments),
    spending,
)
IN_PROCESSES = (alone, plain)

if __name__ == "__main__":
    here = Path(__file__)
    in_processes = sys.argv[1:] == ["processes"]
    for each in IN_PROCESSES if in_processes else ON_RAY:
        name = each.fn.__name__
        found = prefect_flow.from_source(str(here.parent), f"{here.name}:{name}")
        found.deploy(
            name="process" if in_processes else "test",
            work_pool_name="processes" if in_processes else "kodosumi",
            print_next_steps=False,
        )
