"""A run whose tasks wait for people without a process: leg after leg, on a real Prefect."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import prefect
import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import TaskRun
from prefect.states import Cancelling
from prefect.task_runners import ThreadPoolTaskRunner

from kodosumi_prefect import flow, tracer
from kodosumi_prefect.suspension import ending
from kodosumi_prefect.suspension import place as place_module
from kodosumi_prefect.suspension.calls import Call
from kodosumi_prefect.suspension.ending import UnderWayError
from kodosumi_prefect.suspension.plain_flows import keeping
from kodosumi_prefect.suspension.records import records
from tests.answering import answer, locks
from tests.suspension.conftest import Legs
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]


def task_runs(run: Legs) -> list[TaskRun]:
    with get_client(sync_client=True) as client:
        return client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run.id]}))


def states(run: Legs) -> Counter[str]:
    """The names of the states of its task runs, once Prefect knows of all that began."""
    return Counter(str(one.state_name) for one in task_runs(run))


def answer_about(run: Legs, subject: Any) -> None:
    """Answer the open question whose data that is, with it in capitals."""
    (lock,) = [row for row in locks(run.place.database, run.fid) if subject in row["data"]]
    answer(run.place.database, run.fid, lock["lid"], subject.upper())


def test_a_task_that_waits_ends_with_its_run_and_begins_anew(legs: Make) -> None:
    began: list[str] = []

    @task
    def research(word: str) -> str:
        began.append(f"research {word}")
        return word

    @task(retries=1)
    def approve(word: str) -> str:
        began.append(f"approve {word}")
        return f"{research('within')} {tracer.lock_sync('approve', word, suspend=True)}"

    @flow
    def asks() -> str:
        return f"{research('before')} {approve('it')}"

    run = legs(asks)
    assert run.leg()
    assert run.run.state_name == "AwaitingInput"
    wait_for(lambda: states(run) == {"Completed": 2, "Suspended": 1}, 30, "Prefect to hear of it")
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "before within yes"}
    assert began == ["research before", "approve it", "research within", "approve it"]
    assert len(run.recorded.of("lock")) == 1
    ended = [one for one in task_runs(run) if one.state_name == "Suspended"]
    assert [(one.run_count, one.state_type) for one in ended] == [(1, "CANCELLED")]


def test_mapped_tasks_wait_together_and_their_order_may_change(legs: Make) -> None:
    order = ["one", "two", "three"]
    began: list[str] = []

    @task
    def approve(word: str) -> str:
        began.append(word)
        return str(tracer.lock_sync("approve", word, suspend=True))

    @flow(task_runner=ThreadPoolTaskRunner())
    def asks() -> str:
        return " ".join(sorted(approve.map(order).result()))

    run = legs(asks)
    assert run.leg()
    assert sorted(began) == sorted(order)
    answer_about(run, "three")
    order.reverse()
    began.clear()
    assert run.resume()
    assert run.leg()
    assert sorted(began) == sorted(order), "three had not finished"
    for word in ("one", "two"):
        answer_about(run, word)
    order.sort()
    began.clear()
    assert run.resume()
    assert not run.leg()
    assert sorted(began) == ["one", "two"]
    assert run.recorded.final == {"str": "ONE THREE TWO"}
    assert len(locks(run.place.database, run.fid, None)) == 3


def test_a_task_at_work_keeps_the_process_until_it_is_over(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, done = threading.Event(), threading.Event()
    end_leg = place_module.end_leg

    def watched(*arguments: Any) -> Any:
        try:
            return end_leg(*arguments)
        except UnderWayError as exc:
            if "works" in str(exc):
                refused.set()
            raise

    monkeypatch.setattr(place_module, "end_leg", watched)

    @task
    def approve() -> str:
        return str(tracer.lock_sync("approve", suspend=True))

    @task
    def works() -> str:
        assert refused.wait(30)
        done.set()
        return "worked"

    @flow(task_runner=ThreadPoolTaskRunner())
    def asks() -> str:
        return " ".join(future.result() for future in (approve.submit(), works.submit()))

    run = legs(asks)
    assert run.leg()
    assert done.is_set()
    wait_for(lambda: states(run) == {"Completed": 1, "Suspended": 1}, 30, "Prefect to hear of it")
    run.answer("yes")
    done.clear()
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "yes worked"}
    assert not done.is_set()


def test_code_that_goes_on_while_its_leg_ends_keeps_the_process(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for tasks is seen to do so a moment longer than it does."""
    code_now, under_way, tries = ending.code_now, ending.tasks_under_way, []

    def goes_on() -> dict[str, str]:
        tries.append(run.fid)
        if len(tries) == 1:
            record = records[run.fid]
            record.under_way.submit(Call(record.attempt, "", "task:late", 0, "late"), None)
        return code_now()

    def until_seen() -> list[str]:
        names = under_way()
        if "late" in names:
            [late] = records[run.fid].under_way.calls()
            threading.Timer(0.2, records[run.fid].under_way.end, [late.path]).start()
        return names

    monkeypatch.setattr(ending, "tasks_under_way", until_seen)
    monkeypatch.setattr(ending, "code_now", goes_on)

    @flow
    def asks() -> str:
        return str(tracer.lock_sync("approve", suspend=True))

    run = legs(asks)
    assert run.leg()
    assert len(tries) == 2


def test_code_that_is_interrupted_while_its_leg_ends_leaves_its_question_open(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspend, asking = ending._set, []

    def interrupted(*arguments: Any) -> Any:
        loop, question = asking[0]
        loop.call_soon_threadsafe(question.cancel)
        wait_for(question.cancelling)
        return suspend(*arguments)

    monkeypatch.setattr(ending, "_set", interrupted)

    @flow
    async def asks() -> str:
        question = asyncio.ensure_future(tracer.lock("approve", suspend=True))
        asking.append((asyncio.get_running_loop(), question))
        return str(await question)

    run = legs(asks)
    assert run.leg()
    assert len(locks(run.place.database, run.fid)) == 1
    run.answer("yes")


def test_tasks_that_need_those_that_wait_or_their_threads_keep_nothing(legs: Make) -> None:
    began: list[str] = []

    @task
    def approve(word: str) -> str:
        began.append(word)
        return str(tracer.lock_sync("approve", word, suspend=True))

    @task
    def after(answered: str) -> str:
        began.append("after")
        return answered.upper()

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def asks() -> list[str]:
        first = approve.submit("one")
        second = after.submit(first)  # type: ignore[arg-type]
        third = approve.submit("two")
        return [second.result(), third.result()]

    run = legs(asks)
    assert run.leg()
    assert began == ["one"], "the pool has no thread left"
    run.answer("yes")
    assert run.resume()
    assert run.leg()
    assert sorted(began) == ["after", "one", "one", "two"]
    run.answer("no")
    assert run.resume()
    assert not run.leg()
    assert [entry["str"] for entry in run.recorded.final["__list__"]] == ["YES", "no"]


def test_a_task_that_was_retried_waits_and_has_its_retries_again(legs: Make) -> None:
    tries: list[int] = []

    @task(retries=2)
    def approve() -> str:
        tries.append(1)
        if len(tries) in (1, 3):
            raise ValueError("not yet")
        return str(tracer.lock_sync("approve", suspend=True))

    @flow
    def asks() -> str:
        return approve()

    run = legs(asks)
    assert run.leg()
    assert len(tries) == 2
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}
    assert len(tries) == 4
    assert len(locks(run.place.database, run.fid, None)) == 1


def test_a_run_that_is_cancelled_while_its_task_waits_is_over(legs: Make) -> None:
    @task
    def approve() -> str:
        return str(tracer.lock_sync("approve", suspend=True))

    @flow(task_runner=ThreadPoolTaskRunner())
    def asks() -> str:
        return approve.submit().result()

    run = legs(asks)
    assert run.leg()
    wait_for(lambda: states(run) == {"Suspended": 1}, 30, "Prefect to hear of it")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert run.run.state_name == "Cancelled"
    run.answer("too late")
    assert not run.resume()


def test_async_tasks_at_once_wait_for_different_people(legs: Make) -> None:
    began: list[str] = []

    @task
    async def look_up(word: str) -> str:
        began.append(f"look up {word}")
        return word

    @task
    async def approve(word: str) -> str:
        found = await look_up(word)
        return f"{found} {await tracer.lock('approve', word, suspend=True)}"

    @prefect.flow
    async def below(word: str) -> str:
        return await approve(word)

    @flow
    async def asks() -> list[str]:
        return await asyncio.gather(approve("one"), approve("two"), below("three"))

    run = legs(asks)
    assert run.leg()
    assert len(locks(run.place.database, run.fid)) == 3
    answer_about(run, "two")
    assert run.resume()
    assert run.leg()
    for word in ("one", "three"):
        answer_about(run, word)
    assert run.resume()
    assert not run.leg()
    said = [entry["str"] for entry in run.recorded.final["__list__"]]
    assert said == ["one ONE", "two TWO", "three THREE"]
    assert sorted(began) == ["look up one", "look up three", "look up two"]
    assert len(locks(run.place.database, run.fid, None)) == 3


def test_branches_that_ask_in_another_order_get_their_own_answers(legs: Make) -> None:
    @task
    async def look_up(word: str) -> None:
        if word == "slow":
            await asyncio.to_thread(wait_for, lambda: locks(run.place.database, run.fid))

    async def branch(word: str) -> str:
        await look_up(word)
        return f"{word} {await tracer.lock('approve', word, suspend=True)}"

    @flow
    async def asks() -> list[str]:
        return await asyncio.gather(branch("slow"), branch("fast"))

    run = legs(asks)
    assert run.leg()
    assert [row["data"] for row in locks(run.place.database, run.fid)] == ['"fast"', '"slow"']
    for word in ("fast", "slow"):
        answer_about(run, word)
    assert run.resume()
    assert not run.leg()
    assert [entry["str"] for entry in run.recorded.final["__list__"]] == ["slow SLOW", "fast FAST"]


def test_a_plain_flow_is_suspended_in_a_runner(legs: Make) -> None:
    ran: list[str] = []

    @task
    def research(word: str) -> str:
        ran.append(word)
        return word

    @task
    def approve(word: str) -> str:
        return f"{word} {tracer.lock_sync('approve', word, suspend=True)}"

    @prefect.flow(task_runner=ThreadPoolTaskRunner())
    def asks() -> list[str]:
        found = research.map(["one", "two"]).result()
        return approve.map(found).result()

    run = legs(keeping(asks))
    assert run.leg()
    for word in ("one", "two"):
        answer_about(run, word)
    assert run.resume()
    assert not run.leg()
    assert run.run.state_name == "Completed"
    assert sorted(ran) == ["one", "two"]
    assert len(locks(run.place.database, run.fid, None)) == 2


def test_a_leg_that_ends_in_a_transaction_rolls_nothing_back(legs: Make) -> None:
    undone: list[str] = []

    @task
    def book() -> str:
        return "booked"

    @book.on_rollback
    def cancel_booking(_: Any) -> None:
        undone.append("booking")

    @task
    def approve() -> str:
        return f"{book()} {tracer.lock_sync('approve', suspend=True)}"

    @flow
    def asks() -> str:
        with prefect.transactions.transaction():
            booking = book()
            return f"{booking} {approve()}"

    run = legs(asks)
    assert run.leg()
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "booked booked yes"}
    assert undone == []
