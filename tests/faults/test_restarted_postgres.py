"""Postgres that is restarted under a hundred questions, most of them of runs without a process."""

from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import temporary_settings
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.database import migrate
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.answering import answer, until_open
from tests.faults.conftest import Observing
from tests.services import Place, in_force
from tests.suspension.conftest import Background, Legs
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(1200)  # two legs of each run, one after the other

SUSPENDED, IN_PROCESS = 95, 5  # questions

went_on: Counter[str] = Counter()


@flow
def asks(suspend: bool, tracer: Tracer) -> int:
    answered: int = tracer.lock_sync("approve", suspend=suspend)
    went_on[tracer.fid] += 1
    return answered


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres of the test's own."""
    made = EmbeddedPostgres(tmp_path_factory.mktemp("restarted"))
    migrate.upgrade(made.start(), "kodosumi")
    try:
        yield made
    finally:
        made.destroy()


@pytest.fixture
def place(
    server: EmbeddedPostgres, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """That Postgres and the session's Prefect, in force here, with an observer."""
    data_dir = tmp_path_factory.mktemp("data")
    settings = Settings(
        database_url=SecretStr(server.url), data_dir=data_dir, heartbeat_interval=1.0
    )
    settings_module.reset_settings(settings)
    made = Place(settings, server.url, prefect_server)
    observing = Observing(made)
    try:
        with use_settings(settings), temporary_settings(in_force(prefect_server)):
            yield made
    finally:
        observing.stop()
        settings_module.reset_settings()


@pytest.fixture
def pool(place: Place) -> Iterator[str]:
    """A work pool whose runs are executed here."""
    name = f"pool-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        yield name
        client.delete_work_pool(name)


def states(run: Legs) -> list[str]:
    with get_client(sync_client=True) as client:
        return [str(state.name) for state in client.read_flow_run_states(run.id)]


def test_a_restart_of_postgres_under_a_hundred_questions_loses_and_doubles_none(
    server: EmbeddedPostgres, place: Place, pool: str
) -> None:
    suspended = [Legs(place, asks, pool, suspend=True) for _ in range(SUSPENDED)]
    for run in suspended:
        assert run.leg()
    waiting = [Legs(place, asks, pool, suspend=False) for _ in range(IN_PROCESS)]
    legs = [Background(run) for run in waiting]
    url, runs = server.url, suspended + waiting
    asked = {lock["fid"]: lock["lid"] for lock in until_open(url, len(runs))}
    server.stop()
    assert server.start() == url
    for number, run in enumerate(runs):
        answer(url, run.fid, asked[run.fid], number)
    for run in suspended:
        wait_for(lambda run=run: run.run.state_name == "Resuming", 120, "it to go on", every=0.1)
        assert not run.leg()
    for leg in legs:
        leg.join()
    for number, run in enumerate(runs):
        found = place.until_ended(run.fid)
        assert found.final == {"int": number}
        assert len(found.of("lock")) == len(found.of("lease")) == 1
        assert found.row["attempt"] == 1
    assert went_on == Counter(run.fid for run in runs)
    assert {states(run).count("Resuming") for run in suspended} == {1}
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "SELECT count(*) FROM kodosumi.execution WHERE suspended_leg IS NOT NULL"
        ).fetchone()
    assert left == (0,)
