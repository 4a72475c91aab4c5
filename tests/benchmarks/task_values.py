"""Tasks on Ray by our task runner and by prefect-ray's: the driver's memory, and small tasks."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prefect
from prefect.cache_policies import NO_CACHE

from kodosumi_prefect.settings import PREFIX, Settings
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.stack.prefect_server import plan_server, server_child
from kodosumi_prefect.stack.ray_head import plan_ray, ray_child
from tests.benchmarks.harness import report
from tests.services import served

VALUES = 10
SIZE = 200_000_000  # bytes of each value
SMALL = 1_000  # tasks
ROUNDS = 3  # of each measurement, in turns
RUNNERS = ("kodosumi", "prefect-ray")
CHILD = "import sys; from tests.benchmarks import task_values; task_values.child(*sys.argv[1:])"


# Prefect would compute a key of the values, which takes longer than all else here.
@prefect.task(cache_policy=NO_CACHE)
def produce(number: int) -> bytes:
    return bytes([number]) * SIZE


@prefect.task(cache_policy=NO_CACHE)
def measure(value: bytes) -> int:
    return len(value)


@prefect.task
def add_one(number: int) -> int:
    return number + 1


def big_values() -> None:
    """Two stages; the driver reads sizes alone."""
    values = [produce.submit(number) for number in range(VALUES)]
    sizes = [measure.submit(value) for value in values]
    assert [size.result() for size in sizes] == [SIZE] * VALUES


def small_tasks() -> dict[str, float]:
    """Seconds, and the driver's processor seconds, for ``SMALL`` tasks and their results.

    The workers have run some before.
    """
    add_one.map(range(20)).result()
    began, used = time.perf_counter(), time.process_time()
    assert sum(add_one.map(range(SMALL)).result()) == SMALL * (SMALL + 1) // 2
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used}


def child(runner: str, work: str, address: str) -> None:
    """One measurement, in a process of its own; prints its figures."""
    task_runner: Any
    if runner == "kodosumi":
        from kodosumi_prefect.task_runner import RayTaskRunner as Ours

        task_runner = Ours(address)
    else:
        from prefect_ray import RayTaskRunner as Theirs

        task_runner = Theirs(address, {"configure_logging": False})
    works: dict[str, Callable[[], Any]] = {"values": big_values, "small": small_tasks}
    figures = prefect.flow(works[work], name=work, task_runner=task_runner)() or {}
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps(figures | {"peak": int(peak) / 1024}))


def measured(work: str, address: str, environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """The least of each figure of ``ROUNDS`` processes of each task runner, in turns."""
    rounds: dict[str, list[dict[str, float]]] = {runner: [] for runner in RUNNERS}
    for runner in RUNNERS * ROUNDS:
        argv = [sys.executable, "-c", CHILD, runner, work, address]
        out = subprocess.check_output(argv, env=os.environ | environment, text=True)
        rounds[runner].append(json.loads(out.splitlines()[-1]))
    return {
        runner: {name: min(figures[name] for figures in taken) for name in taken[0]}
        for runner, taken in rounds.items()
    }


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="kodosumi-bench-") as folder:
        settings = Settings(data_dir=Path(folder))
        access = plan_server(settings, free_port())
        head = plan_ray(settings)
        environment = {
            f"{PREFIX}DATA_DIR": folder,
            "PREFECT_API_URL": access.url,
            "PREFECT_API_AUTH_STRING": access.auth_string or "",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PYTHONPATH": str(Path.cwd()),
        }
        with (
            served(server_child(settings, access), settings.data_dir),
            served(ray_child(head, environment), settings.data_dir / "logs"),
        ):
            environment |= head.environment()
            values = measured("values", head.address, environment)
            small = measured("small", head.address, environment)
    peak, other = values["kodosumi"]["peak"], values["prefect-ray"]["peak"]
    report(
        f"{VALUES} values of {SIZE // 10**6} MB through two stages of tasks on Ray",
        {
            "driver's peak memory": f"{peak:6.0f} MiB",
            "prefect-ray's": f"{other:6.0f} MiB",
            "of prefect-ray's (at most 1.1)": f"{peak / other:6.2f}",
        },
    )
    ours, theirs = small["kodosumi"], small["prefect-ray"]
    report(
        f"{SMALL:,} small tasks on Ray",
        {
            "tasks a second, best of three": f"{SMALL / ours['seconds']:6.0f}",
            "prefect-ray's": f"{SMALL / theirs['seconds']:6.0f}",
            "driver's processor time a task": f"{ours['cpu'] / SMALL * 1000:6.1f} ms",
            "prefect-ray's driver": f"{theirs['cpu'] / SMALL * 1000:6.1f} ms",
        },
    )
