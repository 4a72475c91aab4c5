"""Plain Ray functions and actors: those that got the tracer are recorded, others are not."""

import sys
from typing import Any

import pytest
from prefect import task

from kodosumi_prefect import Tracer, flow, tracer
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.runner.ray_connection import connect_ray
from tests.services import Place, Recorded
from tests.waiting import wait_for


@pytest.fixture
def native(ray_place: Place) -> Any:
    """The samples, with this process connected to Ray."""
    connect_ray(ray_place.settings)
    from tests.samples import on_native_ray

    return on_native_ray


def said(recorded: Recorded) -> list[str]:
    return sorted(recorded.of("debug", "stdout", "stderr"))


def until_said(place: Place, fid: str, expected: list[str]) -> Recorded:
    """Wait until that much was stored: no one tells when a native call's output is complete."""
    return wait_for(
        lambda: found if len(said(found := place.recorded(fid))) >= len(expected) else None,
        30,  # what cannot be stored at once is tried again after 10
        f"{expected} in {said(place.recorded(fid))}",
    )


def test_a_function_that_got_the_tracer_is_recorded(ray_place: Place, native: Any) -> None:
    import ray

    @flow
    def calls(tracer: Tracer) -> str:
        return ray.get(native.told.remote(tracer, "a"))

    recorded = ray_place.run(calls)
    assert recorded.final == {"str": "a"}
    expected = ["logs a", "prints a", "traces a"]
    recorded = until_said(ray_place, recorded.fid, expected)
    assert said(recorded) == expected
    here = recorded.row["process"]["pid"]
    assert all(event.source["pid"] != here for event in recorded.events if event.kind == "debug")


def test_workers_of_the_cluster_go_through_its_spooler_though_they_could_ask_the_panel(
    ray_place: Place, native: Any
) -> None:
    import ray

    make_secret(ray_place.settings)

    @flow
    def calls(tracer: Tracer) -> str:
        access, panel = ray.get(native.way.remote(tracer))
        return f"access {access}, panel {panel}"

    recorded = ray_place.run(calls)
    assert recorded.final == {"str": "access True, panel False"}
    assert said(until_said(ray_place, recorded.fid, ["traces"])) == ["traces"]


def test_what_a_function_said_stands_before_the_end(
    ray_place: Place, native: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    # Four processes begin at once here, and connect.
    monkeypatch.setattr(sys.modules["kodosumi_prefect.flow"], "SETTLE", 5)

    @flow
    def calls_before_end(tracer: Tracer) -> None:
        ray.get([native.told.remote(tracer, f"{number}") for number in range(4)])

    recorded = ray_place.run(calls_before_end)
    kinds = [event.kind for event in recorded.events]
    assert kinds[-1] == "status"
    assert len(said(recorded)) == 12
    assert not any(event.source and event.source.get("late") for event in recorded.events)


def test_a_function_that_did_not_get_the_tracer_is_not_recorded(
    ray_place: Place, native: Any
) -> None:
    import ray

    @flow
    def calls_both(tracer: Tracer) -> None:
        # In one worker, one after the other, so that nothing sticks to the process.
        for _ in range(3):
            ray.get(native.told.remote(tracer, "told"))
            ray.get(native.untold.remote("untold"))

    expected = ["logs told"] * 3 + ["prints told"] * 3 + ["traces told"] * 3
    recorded = until_said(ray_place, ray_place.run(calls_both).fid, expected)
    assert said(recorded) == expected


def test_threads_of_a_function_that_got_the_tracer_are_recorded(
    ray_place: Place, native: Any
) -> None:
    import ray

    @flow
    def calls_threads(tracer: Tracer) -> None:
        ray.get(native.told_of_threads.remote(tracer, "a"))

    expected = ["pool logs a", "thread prints a"]
    recorded = until_said(ray_place, ray_place.run(calls_threads).fid, expected)
    assert said(recorded) == expected


def test_a_tracer_deep_in_arguments_and_handed_on_is_recorded(
    ray_place: Place, native: Any
) -> None:
    import ray

    @flow
    def calls_deep(tracer: Tracer) -> None:
        ray.get(native.nested.remote({"tracer": tracer, "word": "x"}))

    expected = ["logs deep x", "prints deep x", "prints x", "traces deep x", "traces x"]
    recorded = until_said(ray_place, ray_place.run(calls_deep).fid, expected)
    assert said(recorded) == expected


def test_an_actor_is_recorded_in_the_calls_that_got_the_tracer(
    ray_place: Place, native: Any
) -> None:
    import ray

    @flow
    def acts(tracer: Tracer) -> None:
        teller = native.Teller.remote()
        ray.get(teller.told.remote(tracer, "told"))
        ray.get(teller.untold.remote("untold"))

    expected = ["prints told", "traces told"]
    assert said(until_said(ray_place, ray_place.run(acts).fid, expected)) == expected


def test_an_actor_may_keep_the_tracer(ray_place: Place, native: Any) -> None:
    import ray

    @flow
    def keeps(tracer: Tracer) -> None:
        teller = native.Teller.remote(tracer)
        ray.get(teller.keeps.remote("kept"))

    expected = ["actor begins", "traces kept"]
    assert said(until_said(ray_place, ray_place.run(keeps).fid, expected)) == expected


def test_an_actor_tells_two_runs_apart(ray_place: Place, native: Any) -> None:
    import ray

    teller = native.Teller.remote()

    @flow
    def shares(word: str, tracer: Tracer) -> None:
        ray.get(teller.told.remote(tracer, word))

    first, second = ray_place.run(shares, "a"), ray_place.run(shares, "b")
    for run, word in ((first, "a"), (second, "b")):
        expected = [f"prints {word}", f"traces {word}"]
        assert said(until_said(ray_place, run.fid, expected)) == expected


def test_methods_of_an_async_actor_at_once_are_told_apart(ray_place: Place, native: Any) -> None:
    import ray

    @flow
    def acts_async(tracer: Tracer) -> None:
        teller = native.AsyncTeller.remote()
        ray.get([teller.told.remote(tracer, "told"), teller.untold.remote("untold")])

    expected = ["prints told", "prints told again", "traces told"]
    recorded = until_said(ray_place, ray_place.run(acts_async).fid, expected)
    assert said(recorded) == expected


def test_the_current_tracer_can_be_handed_on_from_a_task(ray_place: Place, native: Any) -> None:
    import ray

    told = native.told

    @task
    def hands_on() -> None:
        ray.get(told.remote(tracer, "from task"))

    @flow
    def hands() -> None:
        hands_on.submit().result()

    expected = ["logs from task", "prints from task", "traces from task"]
    recorded = until_said(ray_place, ray_place.run(hands).fid, expected)
    assert said(recorded) == expected
    sources = [event.source for event in recorded.events if event.kind == "debug"]
    assert all(source["task_run"]["name"].startswith("hands_on") for source in sources)
