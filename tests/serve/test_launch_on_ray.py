"""A launch from end to end: a worker's Runner on Ray finds the service's code and its secrets."""

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kodosumi_prefect.runner.ray_connection import connect_ray
from kodosumi_prefect.spooler.append import Spooler
from tests.faults.pool import Worker
from tests.serve.launches import USER, Launcher, changed
from tests.services import Place
from tests.waiting import wait_for

MODULE = """
import ray

@ray.remote
def part(number, tracer):
    tracer.debug(f"part {number}")
    return number

async def run(inputs, tracer):
    found = ray.get([part.remote(number, tracer) for number in range(2)])
    return {"parts": found, "length": len(inputs["password"])}
"""

# Of a flow that leaves Ray to its task runner; the helper is imported in the task only.
FLOW_MODULE = """
from prefect import task
from kodosumi_prefect import flow

@task
def part(number):
    from {helper} import doubled
    return doubled(number)

@flow
def run(tracer, length: int):
    return [part.submit(number).result() for number in range(length)]
"""


def end_spooler(place: Place) -> None:
    """End the Spooler that the worker made: databases of other tests have the same id."""
    import ray

    from kodosumi_prefect.spooler.actor import find

    spooler = Spooler(place.database, "kodosumi")
    spooler.connect()
    instance = spooler.instance or ""
    spooler.close()
    connect_ray(place.settings)
    if (actor := find(instance)) is not None:
        ray.kill(actor, no_restart=True)
        wait_for(lambda: find(instance) is None, 20, "the end of the Spooler")


@pytest.fixture
def service_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service's module in a folder that only the launching process looks into."""
    name = f"service_{uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return name


@pytest.fixture
def flow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As ``service_module``, of a flow with a module beside it."""
    name, helper = (f"{word}_{uuid4().hex[:8]}" for word in ("flows", "helper"))
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / f"{name}.py").write_text(FLOW_MODULE.format(helper=helper))
    (folder / f"{helper}.py").write_text("def doubled(number):\n    return 2 * number\n")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return name


@pytest.fixture
def worker(ray_place: Place, launcher: Launcher, tmp_path: Path) -> Iterator[Worker]:
    folder = tmp_path / "worker"
    # A pool of its own: in the common one other tests leave runs that nobody executes.
    pool = launcher.pool(f"launches-{uuid4().hex[:6]}")
    made = Worker(f"worker-of-{pool}", pool, ray_place, folder)
    try:
        with changed(launcher, launch_work_pool=pool):
            yield made.until_ready()
    finally:
        made.stop()
        end_spooler(ray_place)


def test_a_launch_is_executed_by_a_runner(
    worker: Worker, launcher: Launcher, service_module: str
) -> None:
    endpoint = launcher.endpoint("on ray", secrets=frozenset({"password"}))
    fid = launcher.launch(f"{service_module}:run", {"password": "hush!me"}, endpoint=endpoint)
    recorded = launcher.place.until_ended(fid, 90)
    assert recorded.final == {"dict": {"parts": [0, 1], "length": 7}}, recorded.row["error"]
    # What native calls said may be stored behind the end.
    wait_for(lambda: len(launcher.place.recorded(fid).of("debug")) >= 2, 30, "both parts")
    assert sorted(launcher.place.recorded(fid).of("debug")) == ["part 0", "part 1"]
    assert recorded.of("status") == ["starting", "running", "finished"]


def test_tasks_of_a_launched_flow_find_its_modules(
    worker: Worker, launcher: Launcher, flow_module: str
) -> None:
    fid = launcher.launch(f"{flow_module}:run", {"length": 2})
    recorded = launcher.place.until_ended(fid, 90)
    assert recorded.final == {"__list__": [{"int": 0}, {"int": 2}]}, recorded.row["error"]
    assert recorded.row["owner"] == USER
    assert "hush!me" not in worker.log
