"""SIGKILL of the observer at each step of having a suspended run go on; another takes over."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from tests.faults.conftest import Observing
from tests.services import Place
from tests.suspension.conftest import Legs
from tests.suspension.killed import OBSERVING, asks
from tests.suspension.killing import Kill, killing
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def killed(shared_place: Place) -> Iterator[Kill]:
    with killing(shared_place) as kill:
        yield kill


@pytest.fixture
def run(place: Place) -> Iterator[Legs]:
    """A suspended run that is answered."""
    name = f"pool-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        made = Legs(place, asks, name)
        assert made.leg()
        made.answer("yes")
        yield made
        client.delete_work_pool(name)


@pytest.mark.parametrize("step", OBSERVING)
def test_an_observer_that_is_killed_while_it_resumes(run: Legs, killed: Kill, step: str):
    killed("observe", step, run)
    observing = Observing(run.place)
    try:
        wait_for(lambda: run.row["suspended_leg"] is None, 60, "it to go on", every=0.1)
        assert run.run.state_name == "Resuming"
        assert not run.leg()
        found = run.place.until_ended(run.fid)
    finally:
        observing.stop()
    assert found.final == {"str": "yes"}
    assert len(found.of("lock")) == len(found.of("lease")) == 1
    with get_client(sync_client=True) as client:
        states = [state.name for state in client.read_flow_run_states(run.id)]
    assert states.count("Resuming") == 1
    assert (found.row["attempt"], run.run.run_count) == (1, 1)
