"""The environment of a run's process: the Runner's without what Ray set for the Runner itself."""

import os
from collections.abc import Mapping
from pathlib import Path

from kodosumi_prefect.process.order import Order

# What Ray sets in each of its workers. A driver that has it takes itself for that worker.
OF_A_RAY_WORKER = frozenset(
    {
        "RAY_JOB_ID",
        "RAY_RAYLET_PID",
        "RAY_LD_PRELOAD_ON_WORKERS",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR",
        "SPT_NOENV",
    }
)
RAY_DEBUGGER = "ray.util.rpdb.set_trace"
# Ray sets it for a worker that has none when its first task begins.
THREADS = "OMP_NUM_THREADS"


def child_environment(order: Order) -> dict[str, str]:
    """Everything that a run's process has in its environment from its start."""
    environment = own_environment()
    if order.ray_address is not None:
        environment["RAY_ADDRESS"] = order.ray_address
    return environment | order.environment


def own_environment() -> dict[str, str]:
    """This process's, without what Ray set for it."""
    environment = {name: v for name, v in os.environ.items() if name not in OF_A_RAY_WORKER}
    if environment.get("PYTHONBREAKPOINT") == RAY_DEBUGGER:
        del environment["PYTHONBREAKPOINT"]
    if THREADS not in _INITIAL:
        environment.pop(THREADS, None)
    return environment


def _initial() -> Mapping[str, str]:
    """The environment that this process was started with."""
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


_INITIAL = _initial()
