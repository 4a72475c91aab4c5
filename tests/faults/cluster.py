"""A Ray cluster of several nodes on this machine, whose nodes can be killed."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from kodosumi_prefect.runner.ray_client import ray_client_environment
from kodosumi_prefect.runner.ray_connection import connect_ray
from kodosumi_prefect.settings import Settings, read_address
from kodosumi_prefect.stack.child import Child, RunningChild
from kodosumi_prefect.stack.keeper import end_family
from tests.waiting import wait_for

RAYLET = Path(__file__).with_name("raylet.py")


class Node:
    """A node of its own processes, with one CPU and a resource of its name."""

    def __init__(self, name: str, settings: Settings, environment: dict[str, str]) -> None:
        head = read_address(settings, "ray")
        assert head is not None
        argv = [sys.executable, str(RAYLET), head["address"], head["temp_dir"], name]
        self.name = name
        self.killed_at = 0.0
        self.log_path = settings.data_dir / "logs" / f"{name}.log"
        environment = {
            **environment,
            **ray_client_environment(settings),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        }
        child = Child(name, argv, environment, grace=10.0)
        self._running = RunningChild(child, self.log_path.parent)

    @property
    def job(self) -> dict[str, Any]:
        """Job variables that put a Runner here."""
        return {"resources": {self.name: 0.01}}

    def ready(self) -> bool:
        assert self._running.exit_code is None, self._running.failure("ended")
        return "ready" in self.log_path.read_text(errors="replace")

    def kill(self) -> float:
        """SIGKILL its raylet, and thereby the node; when that was."""
        family = psutil.Process(self._running.popen.pid).children(recursive=True)
        (raylet,) = [one for one in family if one.name() == "raylet"]
        raylet.send_signal(signal.SIGKILL)
        self.killed_at = time.time()
        return self.killed_at

    def stop(self) -> None:
        end_family(self._running.record, self._running.popen.poll)


class RayNodes:
    """The cluster: a head, and nodes that tests may kill."""

    def __init__(self, settings: Settings, environment: dict[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._nodes: list[Node] = []

    def add(self, *names: str) -> list[Node]:
        """Start nodes; they are there once ``ready``."""
        made = [Node(name, self._settings, self._environment) for name in names]
        self._nodes += made
        return made

    def stop(self) -> None:
        for node in self._nodes:
            node.stop()

    def runners(self) -> set[str]:
        """The names of all Runners that Ray still has."""
        connect_ray(self._settings)
        from ray._private.state import state

        table: Callable[[None], dict[str, dict[str, Any]]] = state.actor_table
        return {one["Name"] for one in table(None).values() if one["State"] != "DEAD"}


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def kill(pid: int) -> float:
    """SIGKILL; when that was."""
    os.kill(pid, signal.SIGKILL)
    now = time.time()
    wait_for(lambda: gone(pid), 10, f"the end of {pid}")
    return now
