"""A run whose tasks on Ray wait for people without a process."""

import os
import signal
import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import prefect
import pytest
import ray
from prefect_ray.context import remote_options

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.suspension import ending, keeping, numbering, watching
from kodosumi_prefect.suspension import place as place_module
from kodosumi_prefect.task_runner import RayTaskRunner
from tests.answering import locks
from tests.locks.people import fetch
from tests.suspension.conftest import Background, Legs
from tests.suspension.test_suspended_tasks import answer_about, states
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("ray_place")]

SMALL = {"num_cpus": 0.1}

Make = Callable[..., Legs]


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """A file in which tasks say what they do."""
    file = tmp_path / "said"
    file.touch()
    return file


def say_to(file: Path) -> Callable[[str], None]:
    """Travels by value, as functions of functions do."""

    def say(word: str) -> None:
        with file.open("a") as lines:
            lines.write(f"{word}\n")

    return say


def test_a_task_on_ray_that_waits_ends_with_its_run_and_begins_anew(legs: Make, said: Path) -> None:
    say = say_to(said)

    @prefect.task
    def research(word: str) -> str:
        say(f"research-{word}")
        return word

    @prefect.task
    def approve(word: str, tracer: Tracer) -> str:
        say(f"approve-{word}")
        found = research("within")
        try:
            return f"{found} {tracer.lock_sync('approve', word, suspend=True)}"
        finally:
            say("approve-left")

    @flow(task_runner=RayTaskRunner(options=SMALL))
    def asks(tracer: Tracer) -> str:
        before = research.submit("before").result()
        return f"{before} {approve.submit('it', tracer).result()}"

    run = legs(asks)
    assert run.leg()
    assert run.run.state_name == "AwaitingInput"
    words = ["research-before", "approve-it", "research-within", "approve-left"]
    assert said.read_text().split() == words
    wait_for(lambda: states(run) == {"Completed": 2, "Suspended": 1}, 30, "Prefect to hear of it")
    run.answer("yes")
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "before within yes"}
    assert said.read_text().split()[4:] == ["approve-it", "approve-left"]
    assert len(run.recorded.of("lock")) == 1


def parked(run: Legs) -> list[str]:
    """Names of its tasks in other processes all of whose code waits, as Postgres knows."""
    rows = fetch(
        run.place.database,
        "SELECT k.name FROM kodosumi.kept_result k JOIN kodosumi.execution e"
        " ON e.id = k.execution_id WHERE e.fid = %s AND k.parked IS NOT NULL"
        " AND k.outcome IS NULL",
        run.fid,
    )
    return [row["name"] for row in rows]


def test_a_run_is_suspended_once_its_last_busy_task_is_over_though_a_worker_died(
    legs: Make, said: Path, tmp_path: Path
) -> None:
    say, go = say_to(said), tmp_path / "go"

    @prefect.task
    def approve(word: str, tracer: Tracer) -> str:
        if word != "done":
            say(f"{word}:{os.getpid()}")
            return str(tracer.lock_sync("approve", word, suspend=True))
        return word

    @prefect.task
    def works() -> str:
        wait_for(go.exists)
        say("worked")
        return "worked"

    @flow(task_runner=RayTaskRunner(options=SMALL))
    def asks(tracer: Tracer) -> list[str]:
        asked = approve.map(["done", "it"], prefect.unmapped(tracer))
        return [works.submit().result(), *asked.result()]

    def begun() -> list[str]:
        return [word for word in said.read_text().split() if word.startswith("it:")]

    run = legs(asks)
    leg = Background(run)
    wait_for(lambda: parked(run) == ["approve"], 60)
    os.kill(int(begun()[0].partition(":")[2]), signal.SIGKILL)
    wait_for(lambda: len(begun()) == 2 and parked(run) == ["approve"], 60)
    assert run.row["suspended_leg"] is None
    go.touch()
    leg.join()
    assert run.row["suspended_leg"] == 0
    assert len(locks(run.place.database, run.fid, None)) == 1
    wait_for(lambda: states(run)["Suspended"] == 1, 30, "Prefect to hear of it")
    answer_about(run, "it")
    assert run.resume()
    assert not run.leg()
    assert [e["str"] for e in run.recorded.final["__list__"]] == ["worked", "done", "IT"]
    assert said.read_text().split().count("worked") == 1
    assert len(begun()) == 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_as_the_leg_ends_is_heard_once(
    legs: Make, said: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Before Postgres holds what waits, or after that, and before Prefect suspends the run."""
    say = say_to(said)
    module, name = (place_module, "end_leg") if when == "before" else (ending, "_set")
    original, answered = getattr(module, name), []

    def answering(*arguments: Any) -> Any:
        if not answered:
            answered.append(run.answer("yes"))
        return original(*arguments)

    monkeypatch.setattr(module, name, answering)

    @prefect.task
    def approve(tracer: Tracer) -> str:
        answer = tracer.lock_sync("approve", suspend=True)
        say("paid")
        return str(answer)

    @flow(task_runner=RayTaskRunner(options=SMALL))
    def asks(tracer: Tracer) -> str:
        return approve.submit(tracer).result()

    run = legs(asks)
    assert run.leg() == (when == "after")
    if when == "after":
        assert said.read_text() == ""
        run.resume()  # unless whoever ended the leg did
        assert not run.leg()
    assert run.recorded.final == {"str": "yes"}
    assert said.read_text().split() == ["paid"]


def test_tasks_that_ray_tasks_submit_and_what_waits_in_threads_wait_together(
    legs: Make, said: Path
) -> None:
    say = say_to(said)

    @prefect.task
    def approve(word: str, tracer: Tracer) -> str:
        say(word)
        return str(tracer.lock_sync("approve", word, suspend=True))

    @prefect.task
    def nested(word: str, tracer: Tracer) -> str:
        return approve.submit(word, tracer).result().lower()

    @prefect.task
    def threads(tracer: Tracer) -> str:
        found: dict[str, str] = {}

        def ask(word: str) -> None:
            found[word] = tracer.lock_sync(word, word, suspend=True)

        asking = [
            threading.Thread(target=copy_context().run, args=[ask, word])
            for word in ("left", "right")
        ]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
        return " ".join(found[word] for word in ("left", "right"))

    @prefect.task
    def after(*words: str) -> str:
        say("after")
        return " ".join(words)

    @flow(task_runner=RayTaskRunner(options=SMALL))
    def asks(tracer: Tracer) -> str:
        return after.submit(nested.submit("deep", tracer), threads.submit(tracer)).result()

    run = legs(asks)
    assert run.leg()
    assert {row["data"] for row in locks(run.place.database, run.fid)} == {
        '"deep"',
        '"left"',
        '"right"',
    }
    for word in ("deep", "left", "right"):
        answer_about(run, word)
    assert run.resume()
    assert not run.leg()
    assert run.recorded.final == {"str": "deep LEFT RIGHT"}
    assert said.read_text().split() == ["deep", "deep", "after"]
    assert len(locks(run.place.database, run.fid, None)) == 3


def test_a_run_that_is_never_suspended_tells_nobody_of_its_tasks(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbering, "names_suspending", lambda: False)
    monkeypatch.setattr(keeping, "_keepers", {})
    watched: list[Any] = []
    monkeypatch.setattr(watching, "watch", watched.append)

    @prefect.task
    def within() -> bool:
        from kodosumi_prefect.suspension import apart

        return apart.current is None

    @flow(task_runner=RayTaskRunner(options=SMALL))
    def works() -> list[bool]:
        return [within.submit().result()]

    run = legs(works)
    assert not run.leg()
    assert run.recorded.final["__list__"] == [{"bool": True}]
    assert watched == []
    assert keeping._keepers == {}, "nothing asks Postgres"
    assert not fetch(
        run.place.database,
        "SELECT 1 FROM kodosumi.kept_result k JOIN kodosumi.execution e"
        " ON e.id = k.execution_id WHERE e.fid = %s",
        run.fid,
    )


def test_a_task_that_ray_has_no_place_for_keeps_nothing(
    legs: Make, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = say_to(said)
    monkeypatch.setattr(watching, "SWEEP", 0.5)
    monkeypatch.setattr(watching, "QUEUED", 0.5)

    @prefect.task
    def approve(word: str, tracer: Tracer) -> str:
        say(word)
        return str(tracer.lock_sync("approve", word, suspend=True))

    @prefect.task
    def processors() -> float:
        return float(ray.cluster_resources()["CPU"])

    @flow(task_runner=RayTaskRunner(options=SMALL))
    def asks(tracer: Tracer) -> list[str]:
        with remote_options(num_cpus=processors.submit().result()):
            asked = approve.map(["one", "two"], prefect.unmapped(tracer))
        return asked.result()

    run = legs(asks)
    for leg in range(2):
        assert run.leg()
        (lock,) = locks(run.place.database, run.fid)
        answer_about(run, lock["data"].strip('"'))
        assert run.resume(), leg
    assert not run.leg()
    assert [e["str"] for e in run.recorded.final["__list__"]] == ["ONE", "TWO"]
    assert len(locks(run.place.database, run.fid, None)) == 2
