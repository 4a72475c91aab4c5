"""Ray tasks and actors that emit, and what is asked of a process's way to the database."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from pydantic import SecretStr

from kodosumi_prefect.events import Event, Kind, serialize
from kodosumi_prefect.locks.waiting import Waiter
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.spooler.route import learn_instance


@ray.remote(num_cpus=0)
class Emitter:
    """A process that emits to one execution.

    Arguments:
        url: of the database; None for a process that knows only its id.
    """

    def __init__(self, instance: str | None, url: str | None, data_dir: str) -> None:
        learn_instance(instance)
        given: dict[str, Any] = {"database_url": SecretStr(url)} if url else {}
        self.client = SpoolClient(Settings(data_dir=Path(data_dir), **given))

    def emit(self, fid: str, texts: Sequence[str], pause: float = 0.0) -> None:
        for text in texts:
            self.client.emit(fid, Event(time.time(), Kind.STDOUT, text))
            if pause:
                time.sleep(pause)

    def open_locks(self, fid: str, lids: Sequence[str]) -> None:
        self.waiter = Waiter(self.client.settings)
        self.waits = {lid: self.waiter.wait(fid, lid) for lid in lids}
        for lid in lids:
            told = {"name": lid, "lid": lid, "data": None, "expires": time.time() + 600}
            self.client.emit(fid, Event(time.time(), Kind.LOCK, serialize(told), 1))

    def settled(self, lid: str, timeout: float = 60.0) -> tuple[Any, ...]:
        return tuple(self.waits[lid].result(timeout))

    def flush(self, timeout: float = 30.0) -> bool:
        return self.client.flush(timeout)

    def way(self) -> dict[str, Any]:
        """Which transport is in use."""
        route = self.client._delivery.route
        return {
            "pid": os.getpid(),
            "actor": route.actor is not None and route.actor.is_there,
            "direct": route.direct is not None and route.direct.connected,
            "connected": self.client.connected,
            "instance": self.client.instance(),
        }


@ray.remote(num_cpus=0)
def ensure_inside(url: str, data_dir: str) -> str:
    """Have the Spooler from within a task, whose ``runtime_env`` it would inherit."""
    from kodosumi_prefect.spooler.actor import ensure_spooler

    try:
        ensure_spooler(Settings(database_url=SecretStr(url), data_dir=Path(data_dir)))
    except RuntimeError as exc:
        return f"{type(exc).__name__}: {exc}"
    return "made"
