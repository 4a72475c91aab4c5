"""Prefect or Postgres away, or cut off from us, while a run is suspended or goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
from prefect.client.orchestration import PrefectClient, SyncPrefectClient, get_client

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension import ending
from kodosumi_prefect.suspension import place as place_module
from kodosumi_prefect.suspension.calls import Attempt
from kodosumi_prefect.suspension.keeping import Keeper, KeptAwayError
from kodosumi_prefect.suspension.resuming import resume
from tests.suspension.conftest import Background, Legs
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]


@flow
def asks(tracer: Tracer) -> Any:
    return tracer.lock_sync("approve", suspend=True)


def resumed_once(run: Legs) -> None:
    with get_client(sync_client=True) as client:
        states = [state.name for state in client.read_flow_run_states(run.id)]
    assert states.count("Resuming") == 1
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}


def test_an_answer_while_prefect_is_away_is_seen_to_later(legs: Make) -> None:
    run = legs(asks)
    assert run.leg()
    run.answer("yes")

    @asynccontextmanager
    async def away() -> AsyncIterator[PrefectClient]:
        raise httpx.ConnectError("Prefect is away")
        yield

    async def look() -> None:
        async with Reader(run.place.database, "kodosumi", 2) as reader:
            await resume(run.fid, reader, away)

    with pytest.raises(httpx.ConnectError):
        asyncio.run(look())
    assert run.row["suspended_leg"] == 0
    assert wait_for(run.resume, 30, "the next look")
    assert not run.leg()


def test_a_leg_does_not_end_where_prefect_is_away(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_module, "AGAIN", 0.1)
    tries: list[int] = []
    suspend = ending._suspend

    def away(*arguments: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise httpx.ConnectError("Prefect is away")
        return suspend(*arguments)

    monkeypatch.setattr(ending, "_suspend", away)

    run = legs(asks)
    assert run.leg()
    assert len(tries) == 2


def test_a_leg_that_prefect_ended_is_over_though_postgres_goes_away(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two processes would go on with the answer."""
    query = Spooler.query

    def away(self: Spooler, name: str, *arguments: Any) -> Any:
        if name == "claim_resuming":
            raise psycopg.OperationalError("the database is restarted")
        return query(self, name, *arguments)

    monkeypatch.setattr(Spooler, "query", away)

    run = legs(asks)
    assert run.leg()
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}


@pytest.mark.parametrize("at", ["suspend", "not_suspended"])
def test_a_run_that_was_not_suspended_after_all_counts_as_one_with_a_process(
    legs: Make, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Though Postgres went away once it knew that the leg might end, or before it forgot that."""
    monkeypatch.setattr(place_module, "AGAIN", 1000.0)
    query = Spooler.query
    lost: list[str] = []

    def away(self: Spooler, name: str, *arguments: Any) -> Any:
        if name != at or lost:
            return query(self, name, *arguments)
        if at == "suspend":
            query(self, name, *arguments)
        lost.append(name)
        raise psycopg.OperationalError("the connection was lost")

    monkeypatch.setattr(Spooler, "query", away)
    if at == "not_suspended":
        monkeypatch.setattr(ending, "_set", lambda *_: None)  # Prefect refuses
    run = legs(asks)
    leg = Background(run)
    wait_for(lambda: lost, 30, "the connection to be lost")
    wait_for(lambda: run.row["suspended_leg"] is None, 30, "its mark to be taken back")
    run.answer("yes")
    leg.join()
    assert run.recorded.final == {"str": "yes"}
    assert run.recorded.row["suspended_leg"] is None
    with get_client(sync_client=True) as client:
        states = [state.name for state in client.read_flow_run_states(run.id)]
    assert sorted(map(str, states)) == ["Completed", "Pending", "Running", "Scheduled"]


def test_a_leg_ends_once_a_database_that_was_away_keeps_what_is_done(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_module, "AGAIN", 0.1)
    tries: list[int] = []
    obstacles = Keeper.obstacles

    def away(self: Keeper, attempt: Attempt) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise KeptAwayError("Postgres is away")
        return obstacles(self, attempt)

    monkeypatch.setattr(Keeper, "obstacles", away)

    assert legs(asks).leg()
    assert len(tries) == 2


def test_prefect_that_resumes_a_run_and_cannot_say_so_resumes_it_once(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = legs(asks)
    assert run.leg()
    run.answer("yes")
    resume_flow_run = PrefectClient.resume_flow_run

    async def killed_behind_it(*arguments: Any) -> Any:
        await resume_flow_run(*arguments)
        raise httpx.ReadError("Prefect is killed")

    with monkeypatch.context() as away:
        away.setattr(PrefectClient, "resume_flow_run", killed_behind_it)
        with pytest.raises(httpx.ReadError):
            run.resume()
    assert run.row["suspended_leg"] == 0, "it is not known that it goes on"

    def known() -> bool:
        assert not run.resume(), "it goes on already"
        return run.row["suspended_leg"] is None

    wait_for(known, 30, "the next look", every=0.1)
    resumed_once(run)


@pytest.mark.parametrize("answered", [False, True])
def test_prefect_that_suspends_a_run_and_cannot_say_so_has_ended_its_leg(
    legs: Make, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """Though somebody answers, and the run goes on, before that is known."""
    monkeypatch.setattr(ending, "RETRY_FIRST", 0.05)
    set_state = SyncPrefectClient.set_flow_run_state
    run = legs(asks)

    def killed_behind_it(client: Any, id_: Any, state: Any, **more: Any) -> Any:
        found = set_state(client, id_, state, **more)
        if state.is_paused():
            if answered:
                run.answer("yes")
                wait_for(run.resume, 30, "somebody to resume it")
            raise httpx.ReadError("Prefect is killed")
        return found

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", killed_behind_it)
    assert run.leg()
    if not answered:
        run.answer("yes")
        assert run.resume()
    resumed_once(run)


def test_prefect_that_is_asked_twice_to_suspend_a_run_has_suspended_it(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own client, which repeats what got no answer; the second one is refused."""
    set_state = SyncPrefectClient.set_flow_run_state

    def twice(client: Any, id_: Any, state: Any, **more: Any) -> Any:
        if state.is_paused():
            set_state(client, id_, state, **more)
        return set_state(client, id_, state, **more)

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", twice)
    run = legs(asks)
    assert run.leg()
    assert run.row["suspended_leg"] == 0
    run.answer("yes")
    assert run.resume()
    resumed_once(run)
