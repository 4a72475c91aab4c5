"""Flows that the tests of this folder deploy; run as a script, it deploys them."""

import time
from pathlib import Path

from prefect import flow as prefect_flow
from prefect import task

from kodosumi_prefect import Tracer, flow


@flow
def ticking(ticks: int, tracer: Tracer) -> int:
    for number in range(ticks):
        tracer.debug(f"tick {number} {time.time():.6f}")
        time.sleep(0.02)
    return ticks


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


if __name__ == "__main__":
    here = Path(__file__)
    for name in ("ticking", "waiting_for_ray", "failing_once"):
        found = prefect_flow.from_source(str(here.parent), f"{here.name}:{name}")
        found.deploy(name="test", work_pool_name="kodosumi", print_next_steps=False)
