"""A run that waits for people without a process: leg after leg, on a real Prefect and Postgres."""

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Any

import prefect
import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.states import Cancelling
from prefect.task_runners import ThreadPoolTaskRunner

from kodosumi_prefect import KodosumiError, Tracer, flow, tracer
from kodosumi_prefect.settings import get_settings, use_settings
from kodosumi_prefect.spooler.client import get_client as get_spool_client
from kodosumi_prefect.suspension import ending, numbering
from kodosumi_prefect.suspension import place as place_module
from kodosumi_prefect.suspension.keeping import Keeper
from tests.answering import Answerer, locks
from tests.services import Place
from tests.suspension.conftest import Legs
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]


def test_a_run_ends_at_its_question_and_goes_on_with_the_answer(legs: Make) -> None:
    began: list[str] = []
    ended: list[str] = []

    @flow(retries=1, on_failure=[lambda *_: ended.append("failed")])
    def asks_twice(tracer: Tracer) -> list[Any]:
        began.append(tracer.fid)
        return [tracer.lock_sync("approve", suspend=True) for _ in range(2)]

    run = legs(asks_twice)
    assert run.leg()
    state = run.run.state
    assert state is not None
    assert (state.type.value, state.name) == ("PAUSED", "AwaitingInput")
    assert state.state_details.pause_reschedule
    assert state.state_details.pause_timeout is None
    assert (run.row["status"], run.row["suspended_leg"]) == ("awaiting", 0)
    assert not run.resume(), "nobody answered"
    run.answer(1)
    assert run.resume()
    assert run.run.state_name == "Resuming"
    assert not run.resume(), "it went on already"
    assert run.row["suspended_leg"] is None
    assert run.leg()
    assert run.row["suspended_leg"] == 1
    run.answer(2)
    assert run.resume()
    assert not run.leg()
    found = run.recorded
    assert [entry["int"] for entry in found.final["__list__"]] == [1, 2]
    assert len(began) == 3
    assert ended == []
    assert (found.row["attempt"], run.run.run_count) == (1, 1)
    assert found.of("status") == [
        *("starting", "running", "awaiting", "running", "awaiting", "running", "finished")
    ]
    kinds = [event.kind for event in found.events]
    assert (kinds.count("lock"), kinds.count("lease")) == (2, 2)
    assert len(locks(run.place.database, run.fid, None)) == 2


def test_a_deadline_that_passes_meanwhile_is_the_runs_error(legs: Make) -> None:
    @flow
    def asks_in_vain(tracer: Tracer) -> str:
        try:
            tracer.lock_sync("approve", timeout=3, suspend=True)
        except TimeoutError as exc:
            return str(exc)
        return "answered"

    run = legs(asks_in_vain)
    assert run.leg()
    assert wait_for(run.resume, 30, "its deadline")
    assert not run.leg()
    assert run.recorded.final == {"str": "lock 'approve' was not answered within 3 seconds"}
    (row,) = locks(run.place.database, run.fid, None)
    assert row["state"] == "expired"


def test_questions_at_once_are_waited_for_again_and_not_asked_again(legs: Make) -> None:
    @flow
    async def asks_at_once(tracer: Tracer) -> list[Any]:
        asked = [tracer.lock("approve", n, suspend=True) for n in range(3)]
        return await asyncio.gather(*asked)

    run = legs(asks_at_once)
    assert run.leg()
    asked = {row["lid"] for row in locks(run.place.database, run.fid)}
    assert len(asked) == 3
    for answered in range(3):
        run.answer(answered)
        assert run.resume()
        assert run.leg() is (answered < 2)
    rows = locks(run.place.database, run.fid, None)
    assert {row["lid"] for row in rows} == asked
    expected = [int(row["result"]) for row in sorted(rows, key=lambda row: row["data"])]
    assert [entry["int"] for entry in run.recorded.final["__list__"]] == expected
    assert len(run.recorded.of("lock")) == 3


def test_a_subflows_question_suspends_the_root(legs: Make) -> None:
    @prefect.flow
    def below() -> Any:
        return tracer.lock_sync("approve", suspend=True)

    @flow
    def above() -> Any:
        return [below(), below()]

    run = legs(above)
    for answered in range(2):
        assert run.leg()
        run.answer(answered)
        assert run.resume()
    assert not run.leg()
    assert [entry["int"] for entry in run.recorded.final["__list__"]] == [0, 1]
    assert len(run.recorded.of("lock")) == 2


def test_code_that_catches_everything_does_not_go_on_after_its_leg(legs: Make) -> None:
    went_on: list[int] = []

    @flow
    def swallows(tracer: Tracer) -> Any:
        try:
            return tracer.lock_sync("approve", suspend=True)
        except BaseException:
            went_on.append(1)
            return "swallowed"

    run = legs(swallows)
    assert run.leg()
    assert went_on == [1]
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}


def test_resuming_in_prefect_is_no_answer(legs: Make) -> None:
    marks: list[int | None] = []

    @flow
    def asks(tracer: Tracer) -> Any:
        tracer.flush_sync()
        marks.append(run.row["suspended_leg"])
        return tracer.lock_sync("approve", suspend=True)

    run = legs(asks)
    assert run.leg()
    with get_client(sync_client=True) as client:
        client.resume_flow_run(run.id)
    assert run.leg(), "it waits again"
    assert marks == [None, None], "while a process is there, it is looked after as any other"
    assert len(locks(run.place.database, run.fid, None)) == 1
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}


def test_a_cancelled_run_is_not_resumed(legs: Make) -> None:
    @flow
    def asks(tracer: Tracer) -> Any:
        return tracer.lock_sync("approve", suspend=True)

    run = legs(asks)
    assert run.leg()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert run.run.state_name == "Cancelled"
    run.answer("too late")
    assert not run.resume()
    assert run.run.state_name == "Cancelled"
    assert run.row["suspended_leg"] is None


def test_an_answer_in_the_moment_of_suspending_resumes_the_run(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_state = ending._set

    def answered_before(*arguments: Any) -> Any:
        run.answer("yes")
        assert not run.resume(), "Prefect does not hold it for suspended yet"
        assert run.row["process"] is not None, "its process is there"
        return set_state(*arguments)

    monkeypatch.setattr(ending, "_set", answered_before)

    @flow
    def asks(tracer: Tracer) -> Any:
        return tracer.lock_sync("approve", suspend=True)

    run = legs(asks)
    assert run.leg()
    assert wait_for(lambda: run.run.state_name == "Resuming" or run.resume(), 30)
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}


@pytest.mark.parametrize("pool", [None])
def test_a_run_that_no_worker_would_resume_waits_in_its_process(
    legs: Make, pool: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    @flow
    def asks(tracer: Tracer) -> Any:
        return [tracer.lock_sync("approve", suspend=True) for _ in range(2)]

    run = legs(asks, pool)
    with caplog.at_level("INFO"), Answerer(run.place.database, once_it_stays(caplog)):
        assert not run.leg()
    said = [record for record in caplog.records if "waits in its process" in record.message]
    assert len(said) == 1
    assert "work pool" in said[0].message


@pytest.mark.parametrize("asks_in", ["flow", "subflow"])
def test_nothing_is_kept_of_a_run_that_nobody_means_to_suspend(
    legs: Make, asks_in: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbering, "names_suspending", lambda: False)
    kept: list[Any] = []
    monkeypatch.setattr(Keeper, "keep", lambda _, row: kept.append(row))

    @task
    def research() -> str:
        return "much"

    @prefect.flow
    def subflow() -> Any:
        return tracer.lock_sync("approve", suspend=True)

    @flow
    def asks(tracer: Tracer) -> Any:
        found = research()
        return [found, subflow() if asks_in == "subflow" else subflow.fn()]

    run = legs(asks)
    with caplog.at_level("INFO"), Answerer(run.place.database, once_it_stays(caplog)):
        assert not run.leg()
    assert "LOCK_SUSPEND_AFTER is not set" in caplog.text
    assert kept == []


def test_a_run_is_kept_from_its_first_question_on(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbering, "names_suspending", lambda: False)
    ran: list[str] = []

    @task
    def research() -> str:
        ran.append("research")
        return "much"

    @flow
    def asks(tracer: Tracer) -> Any:
        first = tracer.lock_sync("approve", suspend=True)
        return [first, research(), tracer.lock_sync("publish", suspend=True)]

    run = legs(asks)
    for answer in ("yes", "no"):
        assert run.leg()
        run.answer(answer)
        assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"__list__": [{"str": "yes"}, {"str": "much"}, {"str": "no"}]}
    assert ran == ["research"]


def test_with_the_setting_all_is_kept(legs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering, "names_suspending", lambda: False)
    ran: list[str] = []

    @task
    def research() -> str:
        ran.append("research")
        return "much"

    @flow
    def asks(tracer: Tracer) -> Any:
        return [research(), tracer.lock_sync("approve", suspend=True)]

    run = legs(asks)
    with use_settings(get_settings().model_copy(update={"lock_suspend_after": 60.0})):
        assert run.leg()
        run.answer("yes")
        assert run.resume()
        assert not run.leg()
    assert ran == ["research"]


def once_it_stays(caplog: pytest.LogCaptureFixture) -> Callable[[str, Any], Any]:
    def reply(name: str, data: Any) -> str:
        wait_for(lambda: "waits in its process" in caplog.text, 30, "it to say so")
        return name

    return reply


def test_a_task_under_way_keeps_the_process(legs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    refused, done = threading.Event(), threading.Event()
    end_leg = place_module.end_leg

    def watched(*arguments: Any) -> Any:
        try:
            return end_leg(*arguments)
        except ending.UnderWayError as exc:
            assert str(exc) == "under way: works"
            refused.set()
            raise

    monkeypatch.setattr(place_module, "end_leg", watched)

    @task
    def works() -> None:
        refused.wait(30)
        done.set()

    @flow(task_runner=ThreadPoolTaskRunner())
    def asks(tracer: Tracer) -> Any:
        future = works.submit()
        answered = tracer.lock_sync("approve", suspend=True)
        future.wait()
        return answered

    run = legs(asks)
    assert run.leg()
    assert done.is_set()


def test_code_that_is_no_flows_cannot_be_suspended(place: Place) -> None:
    @flow
    def asks(tracer: Tracer) -> str:
        errors: list[BaseException] = []

        def work() -> None:
            try:
                tracer.lock_sync("approve", suspend=60)
            except KodosumiError as exc:
                errors.append(exc)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return str(errors[0])

    said = place.run(asks).final["str"]
    assert "cannot be suspended; leave suspend out" in said
    assert "\n" not in said


def test_no_run_is_suspended_where_nobody_said_so(legs: Make) -> None:
    """Flows made before runs could be suspended do what stands between their tasks once."""
    patience: list[float] = []

    @flow
    def asks(tracer: Tracer) -> None:
        place = place_module.place_of("approve", None, tracer.fid, get_spool_client())
        assert place is not None
        with place.waiting("one", lambda: None):
            patience.append(place.patience())

    assert not legs(asks).leg()
    assert patience == [math.inf]


@pytest.mark.parametrize("suspend", ["soon", -1, float("nan")])
def test_how_long_a_process_is_kept_is_a_number(place: Place, suspend: Any) -> None:
    @flow
    def asks(tracer: Tracer) -> None:
        with pytest.raises(TypeError, match="give seconds, True or False"):
            tracer.lock_sync("approve", suspend=suspend)

    state = place.run(asks).state
    assert state is not None
    assert state.is_completed()


def test_what_is_done_before_a_question_is_kept_when_nothing_is_under_way(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    asked: list[str] = []
    under_way, obstacles = ending.tasks_under_way, ending.obstacles

    def watched(word: str, ask: Callable[[], list[str]]) -> Callable[[], list[str]]:
        def asking() -> list[str]:
            asked.append(word)
            return ask()

        return asking

    monkeypatch.setattr(ending, "tasks_under_way", watched("under way", under_way))
    monkeypatch.setattr(ending, "obstacles", watched("obstacles", obstacles))

    @task
    def research(word: str) -> str:
        ran.append(word)
        return word

    @flow
    def asks_between(tracer: Tracer) -> str:
        found = research("a")
        print("before")
        answer = tracer.lock_sync("approve", suspend=True)
        print("after")
        return f"{found} {research('b')} {answer}"

    run = legs(asks_between)
    assert run.leg()
    # What ends while tasks are under way would not be among what is kept.
    assert asked[-3:] == ["under way", "obstacles", "under way"]
    run.answer(1)
    assert run.resume()
    assert not run.leg()
    assert ran == ["a", "b"]
    printed = [
        (event.payload, bool((event.source or {}).get("replayed")))
        for event in run.recorded.events
        if event.kind == "stdout"
    ]
    assert printed == [("before", False), ("before", True), ("after", False)]
