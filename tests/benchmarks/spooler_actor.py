"""Through the Spooler actor: eight Ray tasks into one execution, beside one process on its own."""

import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from pydantic import SecretStr

from kodosumi_prefect.events import Kind
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.actor import ensure_spooler
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.spooler.route import learn_instance
from tests.benchmarks.harness import connect, report

EVENTS = 100_000
TASKS = 8
CROWD = 100  # processes
CROWD_EVENTS = 200  # each of them
TEXT = "x" * 100
COUNT = """
SELECT count(*), min(seq), max(seq) FROM kodosumi.event
WHERE execution_id = (SELECT id FROM kodosumi.execution WHERE fid = %s)
"""
CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'kodosumi-prefect'
"""


@ray.remote(num_cpus=0)
class Emitter:
    """A process that emits when it is told to; it knows the database's id only."""

    def __init__(self, instance: str, folder: str) -> None:
        learn_instance(instance)
        self.client = SpoolClient(Settings(data_dir=Path(folder)))

    def emit(self, fid: str, count: int, pause: float = 0.0) -> int:
        flat_out(self.client, fid, count, pause)
        return os.getpid()


def flat_out(client: SpoolClient, fid: str, count: int, pause: float = 0.0) -> None:
    """Emit as tracers do, until all of it is stored."""
    source = f'{{"node":"here","pid":{os.getpid()}}}'
    word = str(Kind.DEBUG.value)
    for _ in range(count):
        client.emit_fields(fid, (time.time(), word, TEXT, 1, source, None, None, None))
        if pause:
            time.sleep(pause)
    if not client.flush(120):
        raise RuntimeError("not stored within two minutes")


def checked(url: str, fid: str, count: int) -> None:
    with connect(url) as connection:
        found, first, last = connection.execute(COUNT, (fid,)).fetchone()
    assert (found, first, last) == (count, 1, count), f"{found} events from {first} to {last}"


def alone(settings: Settings, url: str) -> float:
    """Seconds until one process's events are readable, over a connection of its own."""
    client, fid = SpoolClient(settings), str(uuid4())
    flat_out(client, fid, 1)
    began = time.perf_counter()
    flat_out(client, fid, EVENTS - 1)
    took = time.perf_counter() - began
    checked(url, fid, EVENTS)
    client.close()
    return took


def together(emitters: list[Any], url: str) -> float:
    """Seconds until the events of all emitters are readable; emitting starts at once."""
    fid = str(uuid4())
    ray.get([emitter.emit.remote(fid, 1) for emitter in emitters])
    each = EVENTS // len(emitters) - 1
    began = time.perf_counter()
    ray.get([emitter.emit.remote(fid, each) for emitter in emitters])
    took = time.perf_counter() - began
    checked(url, fid, EVENTS)
    return took


def crowd(instance: str, folder: str, url: str) -> tuple[int, int]:
    """How many processes emitted, and how many connections there were at most meanwhile."""
    emitters: list[Any] = [Emitter.remote(instance, folder) for _ in range(CROWD)]
    fid = str(uuid4())
    ray.get([emitter.emit.remote(fid, 1) for emitter in emitters])
    calls = [emitter.emit.remote(fid, CROWD_EVENTS - 1, 0.02) for emitter in emitters]
    most, left = 0, calls
    with connect(url) as connection:
        while left:
            most = max(most, connection.execute(CONNECTIONS).fetchone()[0])
            left = ray.wait(left, num_returns=len(left), timeout=0.1)[1]
    checked(url, fid, CROWD * CROWD_EVENTS)
    return len(set(ray.get(calls))), most


def run(settings: Settings, url: str) -> None:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
        namespace="benchmarks",
    )
    try:
        here = settings.model_copy(update={"database_url": SecretStr(url)})
        instance = ensure_spooler(here).instance
        folder = str(settings.data_dir / "workers")
        emitters: list[Any] = [Emitter.remote(instance, folder) for _ in range(TASKS)]
        alone(here, url)
        together(emitters, url)
        single = sorted(alone(here, url) for _ in range(3))[1]
        eight = sorted(together(emitters, url) for _ in range(3))[1]
        processes, most = crowd(instance, folder, url)
    finally:
        ray.shutdown()
    report(
        f"through the Spooler actor ({EVENTS:,} events of 100 bytes, median of 3)",
        {
            f"{TASKS} Ray tasks at once into one execution": f"{EVENTS / eight:10,.0f} events/s",
            "one process with a connection of its own": f"{EVENTS / single:10,.0f} events/s",
            "the tasks beside the one process": f"{single / eight:10.0%}   (at least 50 %)",
            f"connections while {processes} processes emit": f"{most:10}   (at most 10)",
        },
    )
