"""SIGKILL of a run's process, of the panel and of the observer, at each step of a suspension."""

import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Pending
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.process.order import After, Order
from kodosumi_prefect.runner import aftermath
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.answering import locks
from tests.services import Place
from tests.suspension.conftest import Legs
from tests.suspension.killed import ANSWERING, RESUMING, SUSPENDING, asks
from tests.suspension.killing import Kill, killing
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(180)

Make = Callable[..., Legs]


@pytest.fixture(scope="module")
def killed(site: Settings, postgres: EmbeddedPostgres, prefect_server: str) -> Iterator[Kill]:
    """Has a process do some work on a run, and be killed at a step of it."""
    with killing(Place(site, make_conninfo(postgres.url, dbname="runs"), prefect_server)) as kill:
        yield kill


def until_it_goes_on(run: Legs) -> None:
    """As the next observer does it."""

    def goes_on() -> bool:
        run.resume()
        return run.row["suspended_leg"] is None

    wait_for(goes_on, 30, "somebody to resume it", every=0.1)


def ends_once(run: Legs) -> None:
    """It goes on and ends; nothing was asked, answered or begun twice."""
    until_it_goes_on(run)
    assert run.run.state_name == "Resuming"
    assert not run.leg()
    found = run.recorded
    assert found.final == {"str": "yes"}
    assert len(found.of("lock")) == len(found.of("lease")) == 1
    assert [lock["state"] for lock in locks(run.place.database, run.fid, None)] == ["leased"]
    with get_client(sync_client=True) as client:
        states = [state.name for state in client.read_flow_run_states(run.id)]
    assert states.count("Resuming") == 1
    assert (found.row["attempt"], run.run.run_count) == (1, 1)


def see_to_the_rest(run: Legs) -> None:
    """As the Runner of a process that was killed."""
    after = After(-signal.SIGKILL)
    order = Order(run.fid, {}, {}, after=after, leg=0)
    output = cast("Any", SimpleNamespace(attempt=0))
    job = cast("Any", SimpleNamespace(loaded=lambda function: None))
    aftermath._see_to(order, aftermath.how_it_ended(after), after, job, output, [])


def leg_killed(run: Legs, killed: Kill, step: str) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Pending())
    killed("leg", step, run)
    see_to_the_rest(run)


@pytest.mark.parametrize("step", SUSPENDING)
def test_a_process_that_is_killed_while_it_is_suspended(
    legs: Make, killed: Kill, step: str
) -> None:
    run = legs(asks)
    leg_killed(run, killed, step)
    if step.startswith("before") and "itself" not in step:
        state = run.run.state
        assert state is not None
        assert state.is_crashed()
        assert "SIGKILL" in str(state.message)
        until_it_goes_on(run)  # nobody waits for it
        assert [lock["state"] for lock in locks(run.place.database, run.fid, None)] == ["void"]
        assert run.recorded.row["status"] == "error"
        return
    if "itself" not in step:
        run.answer("yes")
    ends_once(run)


@pytest.mark.parametrize("step", RESUMING)
def test_an_observer_that_is_killed_while_it_resumes(legs: Make, killed: Kill, step: str) -> None:
    run = legs(asks)
    assert run.leg()
    run.answer("yes")
    killed("resume", step, run)
    ends_once(run)


@pytest.mark.parametrize("step", ANSWERING)
def test_a_panel_that_is_killed_while_it_stores_an_answer(
    legs: Make, killed: Kill, step: str
) -> None:
    run = legs(asks)
    assert run.leg()
    killed("answer", step, run)
    if step.startswith("before"):
        assert len(locks(run.place.database, run.fid)) == 1, "it is open"
        run.answer("yes")
    ends_once(run)
