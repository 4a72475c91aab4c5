"""Everybody who may resume, cancel or give up a suspended run, at the same time."""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect import flow as prefect_flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus, StateRejectDetails
from prefect.states import Cancelling, Pending

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.locks import question
from kodosumi_prefect.locks.answering import AnsweredError
from kodosumi_prefect.process.order import After, Order
from kodosumi_prefect.runner import aftermath
from kodosumi_prefect.runner.execute import LEAST_TIME, with_time_left
from kodosumi_prefect.runner.flow_runs import FlowRuns
from tests.answering import answer, locks
from tests.spooler.recording import execute
from tests.suspension.conftest import Legs, resumed
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]


@flow
def asks(tracer: Tracer) -> Any:
    return tracer.lock_sync("approve", suspend=True)


def names(run: Legs) -> list[str]:
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(run.id)
    return [str(state.name) for state in sorted(states, key=lambda state: state.timestamp)]


async def test_whoever_resumes_it_goes_on_once(legs: Make) -> None:
    run = legs(asks)
    assert await asyncio.to_thread(run.leg)
    await asyncio.to_thread(run.answer, "yes")
    did = await asyncio.gather(*(resumed(run.place, run.fid) for _ in range(6)))
    assert sum(did) == 1
    assert names(run).count("Resuming") == 1
    assert not await asyncio.to_thread(run.leg)


async def test_what_prefect_does_not_resume_now_is_resumed_later(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = legs(asks)
    assert await asyncio.to_thread(run.leg)
    await asyncio.to_thread(run.answer, "yes")

    async def refused(*_: object) -> OrchestrationResult[Any]:
        why = StateRejectDetails(reason="not now")
        return OrchestrationResult(state=None, status=SetStateStatus.REJECT, details=why)

    with monkeypatch.context() as patched:
        patched.setattr(PrefectClient, "resume_flow_run", refused)
        assert not await resumed(run.place, run.fid)
    assert run.row["suspended_leg"] == 0
    execute(run.place.database, "UPDATE kodosumi.execution SET resume_at = now()")
    assert await resumed(run.place, run.fid)
    assert not await asyncio.to_thread(run.leg)


async def test_an_answer_and_a_cancellation_at_once_cancel_it(legs: Make) -> None:
    run = legs(asks)
    assert await asyncio.to_thread(run.leg)
    await asyncio.to_thread(run.answer, "yes")

    async def cancel() -> None:
        async with get_client() as client:
            await client.set_flow_run_state(run.id, Cancelling())

    await asyncio.gather(resumed(run.place, run.fid), cancel())
    assert run.run.state_name == "Cancelled"
    await resumed(run.place, run.fid)
    assert run.row["suspended_leg"] is None
    assert run.run.state_name == "Cancelled"


async def test_two_answers_at_once_are_one(legs: Make) -> None:
    run = legs(asks)
    assert await asyncio.to_thread(run.leg)
    (lock,) = locks(run.place.database, run.fid)
    given = [
        asyncio.to_thread(answer, run.place.database, run.fid, lock["lid"], n) for n in range(2)
    ]
    outcomes = await asyncio.gather(*given, return_exceptions=True)
    assert [isinstance(outcome, Exception) for outcome in outcomes].count(True) == 1
    assert await resumed(run.place, run.fid)
    assert not await asyncio.to_thread(run.leg)
    assert run.recorded.final == {"int": outcomes.index(None)}


async def test_the_worker_of_a_leg_that_ended_leaves_the_next_one_alone(legs: Make) -> None:
    run = legs(asks)
    assert await asyncio.to_thread(run.leg)
    async with get_client() as client:
        flow_runs = FlowRuns(client)
        assert await flow_runs.is_left(run.id, 0)
        await asyncio.to_thread(run.answer, "yes")
        assert await resumed(run.place, run.fid)
        await client.set_flow_run_state(run.id, Pending())
        assert await flow_runs.is_left(run.id, 0)
        assert not await flow_runs.is_left(run.id, 1)


def test_what_is_left_to_do_for_a_dead_process_is_nothing_once_its_leg_ended(legs: Make) -> None:
    run = legs(asks)
    assert run.leg()
    run.answer("yes")
    assert run.resume()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Pending())
    order = Order(run.fid, {}, {}, after=After(-9), leg=0)
    output = cast("Any", SimpleNamespace(attempt=0))
    job = cast("Any", None)
    aftermath._see_to(order, "killed", After(-9), job, output, [])
    assert run.run.state_name == "Pending"
    assert not run.leg()


def test_the_time_of_a_run_stands_still_while_it_is_suspended(legs: Make) -> None:
    run = legs(asks)
    assert run.leg()
    stored = run.run
    ran = stored.total_run_time.total_seconds()
    assert ran > 0

    @prefect_flow(timeout_seconds=60)
    def timed() -> None: ...

    left = with_time_left(timed, stored).timeout_seconds
    assert left == pytest.approx(60 - ran)
    first = FlowRun(flow_id=stored.flow_id, run_count=1, total_run_time=stored.total_run_time)
    assert with_time_left(timed, first) is timed
    spent = stored.model_copy(update={"total_run_time": stored.total_run_time * 10**6})
    assert with_time_left(timed, spent).timeout_seconds == LEAST_TIME


def test_a_clock_that_was_set_back_keeps_no_suspended_run(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the machine where panel and observer run: deadlines are those of the database."""
    clock = time.time

    @flow
    def asks_two(tracer: Tracer) -> list[Any]:
        first = tracer.lock_sync("first", suspend=True)
        return [first, tracer.lock_sync("second", timeout=3, on_expiry="too late", suspend=True)]

    run = legs(asks_two)
    assert run.leg()
    with monkeypatch.context() as set_back:
        set_back.setattr(time, "time", lambda: clock() - 7200)
        run.answer("yes")
        assert run.resume()
    assert run.leg()
    with monkeypatch.context() as set_back:
        set_back.setattr(time, "time", lambda: clock() - 7200)
        wait_for(run.resume, 30, "its deadline")
    assert not run.leg()
    found = run.recorded
    assert [entry["str"] for entry in found.final["__list__"]] == ["yes", "too late"]
    assert found.of("status") == [
        *("starting", "running", "awaiting", "running", "awaiting", "running", "finished")
    ]


def test_the_clock_of_the_next_leg_s_machine_changes_no_deadline(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = legs(asks)
    assert run.leg()
    with get_client(sync_client=True) as client:
        client.resume_flow_run(run.id)
    clock = SimpleNamespace(time=lambda: time.time() + 24 * 3600, monotonic=time.monotonic)
    with monkeypatch.context() as ahead:
        ahead.setattr(question, "time", clock)
        assert run.leg(), "it is still asked"
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}


def test_an_answer_behind_the_deadline_is_refused_though_no_process_has_noticed(legs: Make) -> None:
    @flow
    def asks_shortly(tracer: Tracer) -> str:
        try:
            return str(tracer.lock_sync("approve", timeout=2.5, suspend=True))
        except TimeoutError:
            return "too late"

    run = legs(asks_shortly)
    assert run.leg()
    wait_for(run.resume, 30, "its deadline")  # and before its process looks, somebody answers
    (lock,) = locks(run.place.database, run.fid)
    with pytest.raises(AnsweredError, match="has expired"):
        answer(run.place.database, run.fid, lock["lid"], "in time")
    assert not run.leg()
    assert run.recorded.final == {"str": "too late"}
