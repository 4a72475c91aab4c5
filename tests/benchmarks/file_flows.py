"""Flows that read and leave files, for ``files_of_runs``; run as a script, it deploys them."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from prefect import flow as prefect_flow

from kodosumi_prefect import Tracer, flow

WAIT = 5.0  # seconds in which a process comes to rest


@ray.remote(num_cpus=0)
class Leaver:
    """A process of the cluster that leaves files when it is told to."""

    def leave(self, tracer: Tracer, name: str, count: int, size: int) -> None:
        content = name[-1:].encode() * size
        with tracer.fs_sync() as fs:
            for number in range(count):
                fs.put(f"{name}/{number:04}.txt", content)
        assert tracer.flush_sync(60)


@flow
def leaves(processes: int, files: int, size: int, tracer: Tracer) -> float:
    """Leave files from several processes at once; seconds until all are listed."""
    leavers: list[Any] = [Leaver.remote() for _ in range(processes)]
    ray.get([one.leave.remote(tracer, f"first-{n}", 1, 1) for n, one in enumerate(leavers)])
    each = files // processes
    began = time.perf_counter()
    ray.get([one.leave.remote(tracer, f"of-{n}", each, size) for n, one in enumerate(leavers)])
    return time.perf_counter() - began


@flow
def copies(name: str, tracer: Tracer) -> dict[str, float]:
    """Read a large file and leave it again; seconds of both."""
    tracer.debug("begun")
    with tracer.fs_sync() as fs:
        while not fs.ls("in"):
            time.sleep(0.2)
        tracer.debug("rests")
        time.sleep(WAIT)
        began = time.perf_counter()
        size = sum(map(len, fs.open(f"in/{name}").read()))
        read = time.perf_counter() - began

        def again() -> Iterator[bytes]:
            yield from fs.open(f"in/{name}").read()

        tracer.debug(f"has read {size} bytes")
        fs.put(name, again())
        tracer.debug("has left it")
    return {"read": read, "copied": time.perf_counter() - began - read}


if __name__ == "__main__":
    here = Path(__file__)
    for name in sys.argv[1:]:
        found = prefect_flow.from_source(str(here.parent), f"{here.name}:{name}")
        found.deploy(name="bench", work_pool_name="kodosumi", print_next_steps=False)
