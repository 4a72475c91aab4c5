"""What Prefect shows of a run that waits for people in its process."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prefect import flow_engine
from prefect.client.orchestration import SyncPrefectClient, get_client

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.observer import awaiting
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.awaiting import AwaitingRuns
from kodosumi_prefect.stream.reader import Reader
from tests.answering import until_open
from tests.services import Place
from tests.suspension.conftest import Background, Legs, limited
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]


@contextmanager
def aligned(place: Place) -> Iterator[None]:
    """An observer's look, again and again."""
    stop = threading.Event()

    async def work() -> None:
        async with Reader(place.database, "kodosumi", 2) as reader, Api() as api:
            runs = AwaitingRuns(reader, api)
            while not stop.is_set():
                await runs.look()
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=copy_context().run, args=[asyncio.run, work()])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@flow(retries=1)
def asks_and_fails_once(tracer: Tracer) -> Any:
    answered = tracer.lock_sync("approve", title="The draft", suspend=False)
    if answered == "fail":
        raise ValueError("not this time")
    return answered


def until_state(run: Legs, name: str) -> Any:
    wait_for(lambda: run.run.state_name == name, 30, f"state {name}", every=0.05)
    return run.run.state


def test_prefect_shows_paused_while_a_question_is_open(legs: Make, place: Place) -> None:
    run = legs(asks_and_fails_once)
    with aligned(place):
        leg = Background(run)
        state = until_state(run, "AwaitingInput")
        assert state.type.value == "PAUSED"
        assert not state.state_details.pause_reschedule
        assert state.state_details.pause_timeout is None
        assert "'The draft'" in state.message and "UTC" in state.message
        run.answer("fail")
        until_open(place.database, 1, run.fid)  # of the next attempt: a pause consumed no retry
        until_state(run, "AwaitingInput")
        run.answer("fine")
        leg.join()
    found = run.recorded
    assert found.final == {"str": "fine"}
    assert (found.row["attempt"], run.run.run_count) == (2, 2)


def test_resuming_in_prefect_leaves_a_run_waiting_and_says_so(
    legs: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "AGAIN", 0.1)
    run = legs(asks_and_fails_once)
    with aligned(place):
        leg = Background(run)
        first = until_state(run, "AwaitingInput")
        with get_client(sync_client=True) as client:
            client.resume_flow_run(run.id)
        wait_for(lambda: "does not answer" in (run.run.state.message or ""), 30, every=0.05)
        assert run.run.state.state_details.pause_key != first.state_details.pause_key
        assert len(until_open(place.database, 1, run.fid)) == 1
        run.answer("fine")
        leg.join()
    assert run.recorded.final == {"str": "fine"}
    assert run.run.run_count == 1


def test_a_run_that_is_about_to_be_suspended_is_not_resumed(legs: Make, place: Place) -> None:
    run = legs(asks_and_fails_once)
    leg = Background(run)
    until_open(place.database, 1, run.fid)

    def mark(leg: int | None) -> None:
        with psycopg.connect(place.database) as connection:
            connection.execute(
                "UPDATE kodosumi.execution SET suspended_leg = %s WHERE fid = %s", (leg, run.fid)
            )

    async def looks() -> str | None:
        async with Reader(place.database, "kodosumi", 2) as reader, Api() as api:
            runs = AwaitingRuns(reader, api)
            while run.run.state_name != "AwaitingInput":
                await runs.look()
            mark(0)  # its process is between Postgres and Prefect
            await runs.look()
            return run.run.state_name

    assert asyncio.run(looks()) == "AwaitingInput"
    mark(None)
    run.answer("fine")
    leg.join()
    assert run.recorded.final == {"str": "fine"}


def test_a_run_with_a_slot_of_its_deployment_keeps_it_and_shows_running(
    legs: Make, place: Place
) -> None:
    run = legs(asks_and_fails_once)
    limited(run.deployment, 1)
    with aligned(place):
        leg = Background(run)
        until_open(place.database, 1, run.fid)
        looked = time.monotonic() + 1
        while time.monotonic() < looked:
            assert run.run.state_name == "Running"
        run.answer("fine")
        leg.join()
    assert [state.name for state in states(run)].count("AwaitingInput") == 0
    assert run.recorded.final == {"str": "fine"}


def test_a_run_with_a_slot_outlives_the_lease_of_that_while_it_waits(
    legs: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine renews it, here every second, and cancels a run that gave it up by a pause."""
    renewed: list[UUID] = []
    maintain, renew = (
        flow_engine.maintain_concurrency_lease,
        SyncPrefectClient.renew_concurrency_lease,
    )

    def shortly(lease: UUID, seconds: float, **more: Any) -> Any:
        assert seconds == 300
        return maintain(lease, 1.0, **more)

    def noted(client: SyncPrefectClient, lease_id: UUID, lease_duration: float) -> None:
        renew(client, lease_id, 60)  # the least that Prefect takes
        renewed.append(lease_id)

    monkeypatch.setattr(flow_engine, "maintain_concurrency_lease", shortly)
    monkeypatch.setattr(SyncPrefectClient, "renew_concurrency_lease", noted)
    run = legs(asks_and_fails_once)
    limited(run.deployment, 1)
    with aligned(place):
        leg = Background(run)
        until_open(place.database, 1, run.fid)
        before = len(renewed)
        wait_for(lambda: len(renewed) > before + 2, 30, "the lease to be renewed")
        assert run.run.state_name == "Running"
        run.answer("fine")
        leg.join()
    assert [state.name for state in states(run)].count("AwaitingInput") == 0
    assert run.recorded.final == {"str": "fine"}


def states(run: Legs) -> list[Any]:
    with get_client(sync_client=True) as client:
        return list(client.read_flow_run_states(run.id))


def test_a_suspended_run_gives_up_the_slot_of_its_deployment(legs: Make) -> None:
    @flow
    def asks(tracer: Tracer) -> Any:
        return tracer.lock_sync("approve", suspend=True)

    run = legs(asks)
    limited(run.deployment, 1)
    assert run.leg()
    with get_client(sync_client=True) as client:
        limits = client.request("GET", "/deployments/{id}", path_params={"id": run.deployment})
    assert limits.json()["global_concurrency_limit"]["active_slots"] == 0
    run.answer("fine")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "fine"}


def test_a_run_that_was_paused_first_is_suspended_all_the_same(legs: Make, place: Place) -> None:
    @flow
    def asks(tracer: Tracer) -> Any:
        return tracer.lock_sync("approve", suspend=2)

    run = legs(asks)
    with aligned(place):
        leg = Background(run)
        assert not until_state(run, "AwaitingInput").state_details.pause_reschedule
        leg.join()
    assert run.run.state is not None
    assert run.run.state.state_details.pause_reschedule
    run.answer("fine")
    assert run.resume()
    assert not run.leg()
    assert (run.recorded.row["attempt"], run.run.run_count) == (1, 1)
