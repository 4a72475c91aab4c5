"""A cluster of several nodes, one observer, and pools of workers for the tests of this folder."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import temporary_settings
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.observer.observer import Observer
from kodosumi_prefect.runner.ray_connection import connect_ray
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.faults.cluster import RayNodes
from tests.faults.pool import Pool
from tests.services import Place, in_force
from tests.waiting import wait_for


class Observing:
    """The observer, in a thread of this process; the one place that knows its class."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._settings = place.settings.model_copy(update={"reconcile_interval": 0.5})
        self._loop = asyncio.new_event_loop()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observing", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with temporary_settings(in_force(self._place.api_url)):
            self._task = self._loop.create_task(Observer(self._settings).run())
            self._began.set()
            self._loop.run_forever()

    def stop(self) -> None:
        self._began.wait()
        asyncio.run_coroutine_threadsafe(cancel_all([self._task]), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture(scope="package")
def shared_place(site: Settings, postgres: EmbeddedPostgres, prefect_server: str) -> Place:
    """The session's Prefect and database, for processes of their own."""
    return Place(site, make_conninfo(postgres.url, dbname="runs"), prefect_server)


@pytest.fixture(scope="package")
def nodes(shared_place: Place, ray_cluster: str) -> Iterator[RayNodes]:
    """The session's Ray with two more nodes, ``left`` and ``right``."""
    more = RayNodes(shared_place.settings, shared_place.environment())
    try:
        for node in more.add("left", "right"):
            wait_for(node.ready, 60, f"node {node.name}")
        yield more
    finally:
        more.stop()
        _end_spooler(shared_place)


def _end_spooler(place: Place) -> None:
    """End the Spooler that the workers made: databases of other tests have the same id."""
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


@pytest.fixture(scope="package")
def observed(shared_place: Place) -> Iterator[Place]:
    """The place with an observer at work."""
    observing = Observing(shared_place)
    yield shared_place
    observing.stop()


@pytest.fixture
def pool(
    observed: Place, nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    """A work pool of the test's own, without a worker yet."""
    with Pool(observed, Path(tmp_path_factory.mktemp("pool"))) as made:
        yield made


@pytest.fixture(scope="module")
def shared_pool(
    observed: Place, nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    """A work pool of the module's own with one worker."""
    with Pool(observed, Path(tmp_path_factory.mktemp("pool"))) as made:
        made.worker().until_ready()
        yield made
