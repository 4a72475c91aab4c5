"""SIGKILL of Prefect's server, started again on its database, while runs wait for people."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect import flow_engine
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import temporary_settings
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.stack.child import Child, RunningChild
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stack.keeper import end_family
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.stack.prefect_server import plan_server, server_child
from kodosumi_prefect.suspension import ending
from tests import prefect_database
from tests.answering import until_open
from tests.faults.conftest import Observing
from tests.prefect_http import AUTH_STRING
from tests.services import Place, in_force
from tests.suspension.conftest import Background, Legs, limited
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

AWAY = 5.0  # seconds: the observer and the run notice it


class Server:
    """A Prefect server of the test's own."""

    def __init__(self, settings: Settings) -> None:
        prefect_database.put_into(settings.data_dir)
        (settings.data_dir / "prefect" / "auth").write_text(AUTH_STRING)
        access = plan_server(settings, free_port())
        self.url = access.url
        self._logs = settings.data_dir / "logs"
        self._child: Child = replace(server_child(settings, access), order=1)
        self._starts = 0
        self.start()

    def start(self) -> None:
        self._starts += 1
        self._running = RunningChild(self._child, self._logs / str(self._starts))
        assert self._child.ready is not None
        wait_for(self._child.ready, 120, "Prefect to answer", every=0.1)

    def kill(self) -> None:
        os.kill(self._running.popen.pid, signal.SIGKILL)
        self._running.popen.wait(10)

    def stop(self) -> None:
        end_family(self._running.record, self._running.popen.poll)

    def away(self) -> threading.Thread:
        """Kill it now, and start it again a little later."""
        self.kill()

        def later() -> None:
            time.sleep(AWAY)
            self.start()

        thread = threading.Thread(target=later)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(Settings(data_dir=tmp_path_factory.mktemp("killed")))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def place(
    server: Server,
    postgres: EmbeddedPostgres,
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    """That Prefect and a database of the test's own, in force here, with an observer."""
    settings = Settings(
        database_url=SecretStr(database),
        data_dir=tmp_path_factory.mktemp("data"),
        heartbeat_interval=1.0,
    )
    settings_module.reset_settings(settings)
    made = Place(settings, database, server.url)
    observing = Observing(made)
    try:
        with use_settings(settings), temporary_settings(in_force(server.url)):
            yield made
    finally:
        observing.stop()
        settings_module.reset_settings()


@pytest.fixture
def pool(place: Place) -> str:
    """A work pool whose runs are executed here."""
    name = f"pool-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    return name


began: list[str] = []


@flow(retries=1)
def asks(suspend: bool, tracer: Tracer) -> str:
    began.append(tracer.fid)
    return str(tracer.lock_sync("approve", suspend=suspend))


def ends_once(run: Legs, legs: int) -> None:
    """Nothing was asked, answered, begun or resumed twice."""
    found = run.place.until_ended(run.fid, 60)
    assert found.final == {"str": "yes"}
    assert len(found.of("lock")) == len(found.of("lease")) == 1
    assert found.row["suspended_leg"] is None
    assert began.count(run.fid) == legs
    assert (found.row["attempt"], run.run.run_count) == (1, 1)
    with get_client(sync_client=True) as client:
        states = [state.name for state in client.read_flow_run_states(run.id)]
    assert states.count("Resuming") == legs - 1
    assert run.run.state_name == "Completed"


def until_resuming(run: Legs) -> None:
    wait_for(lambda: run.run.state_name == "Resuming", 90, "it to go on", every=0.2)


@pytest.mark.parametrize("step", ["before", "behind"])
def test_a_prefect_that_is_killed_as_it_suspends_a_run(
    server: Server, place: Place, pool: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before it accepted that, or as soon as it had."""
    monkeypatch.setattr(ending, "RETRY_FIRST", 0.1)
    monkeypatch.setattr("kodosumi_prefect.suspension.place.AGAIN", 1.0)
    run = Legs(place, asks, pool, suspend=True)
    set_state = ending.SyncPrefectClient.set_flow_run_state
    restarts: list[threading.Thread] = []

    def killed(client: object, id_: object, state: object, **more: object) -> object:
        if not state.is_paused() or restarts:  # type: ignore[attr-defined]
            return set_state(client, id_, state, **more)  # type: ignore[arg-type]
        if step == "behind":
            set_state(client, id_, state, **more)  # type: ignore[arg-type]
        restarts.append(server.away())
        # What it would have said is lost with it.
        return set_state(client, id_, state, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(ending.SyncPrefectClient, "set_flow_run_state", killed)
        assert run.leg()
    restarts[0].join()
    run.answer("yes")
    until_resuming(run)
    assert not run.leg()
    ends_once(run, 2)


def test_a_prefect_that_is_killed_as_an_answer_comes(
    server: Server, place: Place, pool: str
) -> None:
    suspended = [Legs(place, asks, pool, suspend=True) for _ in range(3)]
    for run in suspended:
        assert run.leg()
    waiting = Legs(place, asks, pool, suspend=False)
    leg = Background(waiting)
    wait_for(lambda: waiting.run.state_name == "AwaitingInput", 30, "it to be shown")
    restart = server.away()
    for run in (*suspended, waiting):
        run.answer("yes")
    restart.join()
    leg.join()
    ends_once(waiting, 1)
    for run in suspended:
        until_resuming(run)
        assert not run.leg()
        ends_once(run, 2)


def test_a_prefect_that_is_killed_once_it_resumed_a_run(
    server: Server, place: Place, pool: str
) -> None:
    run = Legs(place, asks, pool, suspend=True)
    assert run.leg()
    run.answer("yes")
    until_resuming(run)
    server.away().join()
    assert run.run.state_name == "Resuming"
    with psycopg.connect(place.database) as connection:
        query = "SELECT count(*) FROM kodosumi.execution WHERE suspended_leg IS NOT NULL"
        wait_for(lambda: connection.execute(query).fetchone() == (0,), 60, "it to be known")
    assert not run.leg()
    ends_once(run, 2)


def test_a_run_that_waits_with_a_slot_keeps_it_though_prefect_is_killed(
    server: Server, place: Place, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine renews the lease of that slot, here every 8 seconds instead of 225."""
    renewed: list[UUID] = []
    maintain, renew = (
        flow_engine.maintain_concurrency_lease,
        SyncPrefectClient.renew_concurrency_lease,
    )

    def shortly(lease: UUID, _: float, **more: Any) -> Any:
        return maintain(lease, 10.0, **more)

    def noted(client: SyncPrefectClient, lease_id: UUID, lease_duration: float) -> None:
        renew(client, lease_id, 60)  # the least that Prefect takes
        renewed.append(lease_id)

    monkeypatch.setattr(flow_engine, "maintain_concurrency_lease", shortly)
    monkeypatch.setattr(SyncPrefectClient, "renew_concurrency_lease", noted)
    run = Legs(place, asks, pool, suspend=False)
    limited(run.deployment, 1)
    leg = Background(run)
    until_open(place.database, 1, run.fid)
    server.away().join()
    before = len(renewed)
    wait_for(lambda: len(renewed) > before, 60, "the lease to be renewed")
    assert run.run.state_name == "Running"
    run.answer("yes")
    leg.join()
    ends_once(run, 1)
