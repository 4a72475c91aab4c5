"""Our Ray task runner: connects late and once, waits interruptibly, carries no secrets."""

import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect import task
from prefect.flows import load_flow_from_entrypoint
from prefect.futures import as_completed

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.task_runner import NoRayError, RayTaskRunner, ray_task_runner
from tests.samples import on_ray
from tests.samples.on_ray import add, burst, square, square_async
from tests.services import SAMPLES, Place


def test_tasks_run_on_ray_and_are_recorded(ray_place: Place) -> None:
    recorded = ray_place.run(on_ray.squares, [1, 2, 3])
    assert recorded.final == {"int": 14}
    assert sorted(recorded.of("stdout")) == ["squaring 1", "squaring 2", "squaring 3"]
    here = recorded.row["process"]["pid"]
    for event in recorded.events:
        if event.kind == "stdout":
            assert event.source["pid"] != here
            assert event.source["task_run"]["name"].startswith("square")


def test_what_a_task_says_stands_between_submit_and_result(
    ray_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_task_runner, "SUBMIT_FLUSH", 30)
    recorded = ray_place.run(on_ray.talks, {"word": "x"})
    assert recorded.told[2:-2] == [
        ("debug", "before"),
        ("debug", "handed x"),
        ("debug", "current x"),
        ("stdout", "printed x"),
        ("debug", "after"),
    ]


def test_futures_feed_later_tasks_and_async_tasks_work(ray_place: Place) -> None:
    @flow
    def chained() -> Any:
        first = square.submit(2)
        second = square_async.submit(3)
        both = add.submit(first, second)
        waited = add.submit(1, 1, wait_for=[both])
        return [both.result(), waited.result(), sorted(f.result() for f in as_completed([first]))]

    assert ray_place.run(chained).final == {
        "__list__": [{"int": 13}, {"int": 2}, {"__list__": [{"int": 4}]}]
    }


def test_a_task_that_fails_fails_the_flow_with_its_exception(ray_place: Place) -> None:
    @flow
    def bursts() -> None:
        burst.submit().result()

    recorded = ray_place.run(bursts)
    assert recorded.state is not None
    assert recorded.state.is_failed()
    assert recorded.row["error"] == "ValueError: burst"


def test_a_result_can_be_waited_for_with_a_timeout(ray_place: Place, tmp_path: Path) -> None:
    @flow
    def waits_briefly(marker: str) -> float:
        future = on_ray.dawdle.submit(marker, 3)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"did not complete within 0\.3 seconds"):
            future.result(timeout=0.3)
        waited = time.monotonic() - began
        future.wait()
        assert future.state.is_completed()
        return waited

    recorded = ray_place.run(waits_briefly, str(tmp_path / "marker"))
    assert recorded.row["status"] == "finished", recorded.row["error"]
    assert recorded.final["float"] < 2


def test_a_plain_flow_may_use_the_task_runner(ray_place: Place) -> None:
    from kodosumi_prefect import tracer

    @prefect.flow(task_runner=RayTaskRunner(options={"num_cpus": 1}))
    def plain() -> int:
        tracer.debug("plain")
        return square.submit(4).result()

    recorded = ray_place.run(plain)
    assert recorded.final == {"int": 16}
    assert recorded.of("stdout") == ["squaring 4"]


def test_a_subflow_with_tasks_shares_the_connection_and_the_stream(ray_place: Place) -> None:
    @flow
    def outer() -> int:
        return on_ray.squares([1]) + on_ray.squares([2])

    recorded = ray_place.run(outer)
    assert recorded.final == {"int": 5}
    assert recorded.of("stdout") == ["squaring 1", "squaring 2"]
    for event in recorded.events:
        if event.kind == "stdout":
            assert event.source["subflow"]["name"]
            assert event.source["task_run"]["name"]


def test_a_flow_file_with_a_helper_beside_it_works(ray_place: Place) -> None:
    loaded = load_flow_from_entrypoint(f"{SAMPLES / 'beside' / 'filed_flow.py'}:filed")
    recorded = ray_place.run(loaded, 7)
    assert recorded.row["error"] is None
    assert recorded.final == {"int": 21}
    assert recorded.of("stdout") == ["tripling 7"]


def test_two_flows_of_a_process_share_one_connection(ray_place: Place) -> None:
    done = ray_place.call("script_two_flows.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "connected 1" in lines
    assert "result 5" in lines
    assert "result 25" in lines
    assert len({line for line in lines if line.startswith("job")}) == 1
    for line in lines:
        if line.startswith("fid"):
            recorded = ray_place.recorded(line.split()[1])
            assert len(recorded.of("stdout")) == 2
            assert recorded.row["status"] == "finished"


def test_ray_shows_no_secret(ray_place: Place) -> None:
    ray_place.run(on_ray.squares, [1])
    import ray
    from ray._private.state import jobs

    context = ray.get_runtime_context()
    shown = f"{context.runtime_env} {jobs()}"
    assert context.get_job_id() in shown
    password = ray_place.database.split("password=")[-1].split()[0]
    assert len(password) > 8
    assert password not in shown
    assert "postgres" not in shown


def test_without_a_cluster_the_error_says_what_to_do(place: Place, tmp_path: Path) -> None:
    import ray

    if ray.is_initialized():
        ray.shutdown()

    @flow
    def lonely() -> int:
        return square.submit(1).result()

    elsewhere = Settings(data_dir=tmp_path, database_url=place.database)
    with use_settings(elsewhere), pytest.raises(NoRayError, match="set ray_address, start"):
        lonely()


def test_a_flow_and_its_task_runner_can_be_pickled() -> None:
    from ray import cloudpickle

    runner = RayTaskRunner("ray://head:10001", {"namespace": "x"}, {"num_cpus": 2})
    assert pickle.loads(pickle.dumps(runner)) == runner
    assert runner.duplicate() == runner
    assert runner.duplicate() is not runner
    loaded = cloudpickle.loads(cloudpickle.dumps(on_ray.squares))
    assert loaded.name == "squares"
    assert loaded.task_runner == on_ray.squares.task_runner


def test_importing_starts_nothing() -> None:
    script = (
        "import threading, sys; before = threading.active_count(); import kodosumi_prefect;"
        "from tests.samples import on_ray;"
        "assert 'ray' not in sys.modules, 'ray is imported';"
        "print([t.name for t in threading.enumerate() if 'kodosumi' in t.name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_tasks_get_the_tracer_as_an_argument_or_from_the_context(ray_place: Place) -> None:
    @task
    def both(given: Tracer) -> bool:
        from kodosumi_prefect import tracer

        return given.fid == tracer.fid

    @flow
    def hands(tracer: Tracer) -> bool:
        return both.submit(tracer).result()

    assert ray_place.run(hands).final == {"bool": True}


@pytest.mark.parametrize("speaks", [on_ray.threads, on_ray.threads_of_async], ids=["sync", "async"])
def test_threads_and_pools_of_a_task_are_recorded_as_the_tasks(
    ray_place: Place, speaks: prefect.Task[..., Any]
) -> None:
    @flow
    def submits() -> None:
        speaks.submit("x").result()

    recorded = ray_place.run(submits)
    assert recorded.row["error"] is None
    said = [event for event in recorded.events if event.kind in ("stdout", "debug", "stderr")]
    assert sorted(event.payload for event in said) == [
        f"{where} {does} x" for where in ("pool", "thread") for does in ("logs", "prints", "traces")
    ]
    tasks = {(event.source["task_run"]["id"], event.source["task_run"]["name"]) for event in said}
    ((_, name),) = tasks
    assert name.startswith(f"{speaks.name}-")
