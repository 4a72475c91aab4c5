"""Asking a human from a run: waiting, several at once, timeouts, retries, what is left behind."""

import asyncio
import io
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect import task
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, Field, model_validator

from kodosumi_prefect import KodosumiError, Tracer, TracerMock, flow, forms, tracer
from kodosumi_prefect.locks import question
from kodosumi_prefect.locks.question import VoidLockError
from kodosumi_prefect.runner.ray_connection import connect_ray
from kodosumi_prefect.settings import use_settings
from tests.answering import Answerer, answer, locks, until_open
from tests.services import Place
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)


def echo(name: str, data: Any) -> Any:
    return {"name": name, "data": data}


def test_a_flow_waits_and_goes_on_with_the_answer(place: Place) -> None:
    @flow
    def asks(tracer: Tracer) -> Any:
        tracer.debug("before")
        answered = tracer.lock_sync("approve", {"draft": 1})
        tracer.debug("after")
        return answered

    with Answerer(place.database, echo):
        recorded = place.run(asks)
    assert recorded.final == {"dict": {"name": "approve", "data": {"draft": 1}}}
    assert [e.kind for e in recorded.events[3:]] == [
        *("status", "debug", "lock", "status", "lease", "status", "debug", "final", "status")
    ]
    assert recorded.of("status") == ["starting", "running", "awaiting", "running", "finished"]
    lock, lease = (e for e in recorded.events if e.kind in ("lock", "lease"))
    (row,) = locks(place.database, recorded.fid, None)
    assert lock.value == {
        "name": "approve",
        "lid": row["lid"],
        "data": {"draft": 1},
        "expires": pytest.approx(time.time() + 3 * 3600, abs=60),
    }
    assert lease.value == {
        "name": "approve",
        "lid": row["lid"],
        "result": {"name": "approve", "data": {"draft": 1}},
    }
    assert lease.source is not None
    assert lease.source["answered_by"]["name"] == "somebody"
    assert (row["state"], row["answered_by"]) == ("leased", "1" * 8 + "-1111" * 3 + "-" + "1" * 12)
    assert recorded.row["open_locks"] == 0


async def test_an_async_flow_waits_for_ten_at_once(place: Place) -> None:
    @flow
    async def asks_ten(tracer: Tracer) -> Any:
        asked = [tracer.lock(f"number {n}", n) for n in range(10)]
        return [answered["data"] for answered in await asyncio.gather(*asked)]

    seen: list[int] = []

    def once_all_are_open(name: str, data: Any) -> Any:
        seen.append(len(until_open(place.database, 10 - len(seen))))
        return {"data": data}

    with Answerer(place.database, once_all_are_open):
        recorded = await place.run_async(asks_ten)
    assert [entry["int"] for entry in recorded.final["__list__"]] == list(range(10))
    assert seen[0] == 10
    assert recorded.of("status").count("awaiting") == 1
    assert recorded.of("status")[-2:] == ["running", "finished"]


def test_a_task_in_a_thread_and_its_flow_wait_at_once(place: Place) -> None:
    @task
    def asks_too() -> Any:
        return tracer.lock_sync("of task")

    @prefect.flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def asks_both() -> list[str]:
        future = asks_too.submit()
        mine = tracer.lock_sync("of flow")
        return sorted([mine["name"], future.result()["name"]])

    with Answerer(place.database, lambda *a: (until_open(place.database, 1), echo(*a))[1]):
        recorded = place.run(asks_both)
    assert [e["str"] for e in recorded.final["__list__"]] == ["of flow", "of task"]
    sources = {e.value["name"]: e.source for e in recorded.events if e.kind == "lock"}
    assert sources["of task"]["task_run"]["name"].startswith("asks_too")


def test_native_ray_functions_and_actors_wait(ray_place: Place) -> None:
    import ray

    connect_ray(ray_place.settings)
    from tests.samples import on_locks

    @flow
    def asks_on_ray(tracer: Tracer) -> Any:
        asker = on_locks.Asker.remote()
        calls = [on_locks.asks.remote(tracer, f"function {n}") for n in range(2)]
        calls += [asker.asks.remote(tracer, "actor")]
        return [entry["name"] for entry in ray.get(calls)]

    with Answerer(ray_place.database, echo):
        recorded = ray_place.run(asks_on_ray)
    names = [entry["str"] for entry in recorded.final["__list__"]]
    assert names == ["function 0", "function 1", "actor"]
    here = recorded.row["process"]["pid"]
    assert all(e.source["pid"] != here for e in recorded.events if e.kind == "lock")


async def test_nobody_answers_in_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "LAST_LOOK", 60)  # what ends it is heard, not waited out

    @flow
    async def asks_in_vain(tracer: Tracer) -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"'approve' was not answered within 0\.5 seconds"):
            await tracer.lock("approve", timeout=0.5)
        return time.monotonic() - began

    recorded = await place.run_async(asks_in_vain)
    assert 0.5 <= recorded.final["float"] < 30
    (row,) = locks(place.database, recorded.fid, None)
    assert row["state"] == "expired"
    (lease,) = (e for e in recorded.events if e.kind == "lease")
    assert lease.value == {"name": "approve", "lid": row["lid"], "result": None, "state": "expired"}
    assert recorded.of("status") == ["starting", "running", "awaiting", "running", "finished"]


def test_a_timeout_that_nobody_catches_fails_the_run(place: Place) -> None:
    @flow
    def asks_in_vain_sync(tracer: Tracer) -> None:
        tracer.lock_sync("approve", timeout=0.2)

    recorded = place.run(asks_in_vain_sync)
    assert recorded.row["status"] == "error"
    assert (
        recorded.row["error"] == "TimeoutError: lock 'approve' was not answered within 0.2 seconds"
    )
    assert recorded.row["open_locks"] == 0


async def test_who_gives_up_waiting_leaves_no_open_lock(place: Place) -> None:
    @flow
    async def gives_up(tracer: Tracer) -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await tracer.lock("approve")
        assert await tracer.flush()
        return place.recorded(tracer.fid).row["status"]

    recorded = await place.run_async(gives_up)
    assert recorded.final == {"str": "running"}
    assert [lock["state"] for lock in locks(place.database, recorded.fid, None)] == ["void"]


class Approval(BaseModel):
    approved: bool = False
    stars: int = Field(1, ge=1, le=5)
    comment: str = ""

    @model_validator(mode="after")
    def explained(self) -> "Approval":
        if not self.approved and not self.comment:
            raise ValueError("say why not")
        return self


def test_a_pydantic_form_gives_an_instance_and_its_validators_ask_again(place: Place) -> None:
    @flow
    def asks_typed(tracer: Tracer) -> Any:
        approval = tracer.lock_sync("approve", form=Approval)
        assert isinstance(approval, Approval)
        return approval

    replies = [{"approved": False, "stars": 3}, {"approved": False, "stars": 3, "comment": "dull"}]
    with Answerer(place.database, lambda *_: replies.pop(0)):
        recorded = place.run(asks_typed)
    assert recorded.final == {"Approval": {"approved": False, "stars": 3, "comment": "dull"}}
    first, second = locks(place.database, recorded.fid, None)
    assert "say why not" not in first["elements"]
    elements = json.loads(second["elements"])
    assert elements[0] == {"type": "markdown", "text": "**say why not**"}
    assert next(e for e in elements if e.get("name") == "stars")["value"] == 3


def test_a_model_gives_its_values(place: Place) -> None:
    @flow
    def asks_form(tracer: Tracer) -> Any:
        form = forms.Model(forms.InputNumber("count", required=True), forms.Checkbox("sure"))
        return tracer.lock_sync(
            "how many", form=form, title="How many?", question="At *most* nine."
        )

    with Answerer(place.database, lambda *_: {"count": 3, "sure": True}):
        recorded = place.run(asks_form)
    [asked] = [
        json.loads(event.payload)["dict"] for event in recorded.events if event.kind == "lock"
    ]
    assert (asked["title"], asked["question"]) == ("How many?", "At *most* nine.")
    assert recorded.final == {"dict": {"count": 3, "sure": True}}


def test_a_form_that_is_none_is_refused_at_once(place: Place) -> None:
    @flow
    def asks_nonsense(tracer: Tracer) -> None:
        with pytest.raises(TypeError, match=r"form is .*; give a forms\.Model"):
            tracer.lock_sync("x", form={"type": "text"})
        with pytest.raises(TypeError, match=r"title is .*; give text"):
            tracer.lock_sync("x", title=3)  # type: ignore[arg-type]

    assert not [e for e in place.run(asks_nonsense).events if e.kind == "lock"]


def test_where_nothing_is_recorded_nobody_is_asked(place: Place, tmp_path: Path) -> None:
    @flow
    def asks_unrecorded(tracer: Tracer) -> None:
        tracer.lock_sync("x")

    with use_settings(place.settings.model_copy(update={"enabled": False, "data_dir": tmp_path})):
        state = asks_unrecorded(return_state=True)
    assert state.is_failed()
    assert "nobody could answer" in str(state.message)


def test_a_retried_attempt_asks_anew_and_its_first_question_is_void(place: Place) -> None:
    left: list[BaseException] = []

    @flow(retries=1)
    def asks_twice(tracer: Tracer) -> Any:
        if not left:

            def forgotten() -> None:
                try:
                    tracer.lock_sync("first")
                except KodosumiError as exc:
                    left.append(exc)

            thread = threading.Thread(target=forgotten, daemon=True)
            thread.start()
            left.append(RuntimeError())
            until_open(place.database)
            raise RuntimeError("again")
        return tracer.lock_sync("second")["name"]

    with Answerer(
        place.database, lambda name, data: echo(name, data) if name == "second" else None
    ):
        recorded = place.run(asks_twice)
    assert recorded.final == {"str": "second"}
    found = {
        row["name"]: (row["state"], row["attempt"])
        for row in locks(place.database, recorded.fid, None)
    }
    assert found == {"first": ("void", 1), "second": ("leased", 2)}
    wait_for(lambda: len(left) == 2, 10, "the first attempt's thread to be told")
    assert isinstance(left[1], VoidLockError)


def test_a_run_that_ends_leaves_its_locks_void(place: Place) -> None:
    @flow
    def leaves_one_open(tracer: Tracer) -> None:
        def asks() -> None:
            with pytest.raises(VoidLockError):
                tracer.lock_sync("never answered")

        thread = threading.Thread(target=asks, daemon=True)
        threads.append(thread)
        thread.start()
        until_open(place.database)

    threads: list[threading.Thread] = []
    recorded = place.run(leaves_one_open)
    assert recorded.of("status") == ["starting", "running", "awaiting", "finished"]
    assert (recorded.row["status"], recorded.row["open_locks"]) == ("finished", 0)
    (row,) = locks(place.database, recorded.fid, None)
    assert row["state"] == "void"
    with pytest.raises(Exception, match="is of a run that is over"):
        answer(place.database, recorded.fid, row["lid"], 1)
    threads[0].join(10)
    assert not threads[0].is_alive()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_run_that_is_interrupted_while_it_waits_ends_and_its_lock_is_void(
    place: Place, kind: str
) -> None:
    before = {lock["lid"] for lock in locks(place.database)}
    with place.start("script_asks.py", kind) as process:
        (lock,) = wait_for(
            lambda: [lock for lock in locks(place.database) if lock["lid"] not in before], 60
        )
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
    recorded = place.until_ended(lock["fid"])
    assert (recorded.row["status"], recorded.row["open_locks"]) == ("error", 0)
    assert [row["state"] for row in locks(place.database, lock["fid"], None)] == ["void"]


async def test_the_mock_asks_at_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mock = TracerMock()
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1}\nno json\ny\n7\n\n\n4\nfine\n'))
    assert await mock.lock("plain", {"x": 1}) == {"a": 1}
    assert mock.lock_sync("plain") == "no json"
    made = mock.lock_sync("typed", form=Approval, title="Typed?", question="Is it?")
    shown = capsys.readouterr().out
    assert shown.startswith('lock: plain {"dict": {"x": 1}}\n')
    assert "lock: Typed?\nIs it?\n" in shown
    assert (made.stars, made.comment) == (4, "fine")
    with pytest.raises(KodosumiError, match="pipe the answer into it"):
        mock.lock_sync("more")
