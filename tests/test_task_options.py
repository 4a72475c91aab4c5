"""Ray's options for tasks: all that ``ray.remote`` takes."""

from typing import Any

import psutil
import pytest
from prefect_ray.context import remote_options

from kodosumi_prefect import flow
from kodosumi_prefect.task_runner.remote import DECORATOR_OPTIONS, remote
from tests.samples.on_values import pack, process_id
from tests.services import Place
from tests.waiting import wait_for

# A value for each option that is not its default.
OPTIONS: dict[str, Any] = {
    "label_selector": {"region": "eu"},
    "fallback_strategy": [{"label_selector": {"region": "us"}}],
    "accelerator_type": "A100",
    "memory": 10**6,
    "name": "named",
    "num_cpus": 2,
    "num_gpus": 1,
    "placement_group": None,
    "placement_group_bundle_index": 0,
    "placement_group_capture_child_tasks": True,
    "resources": {"special": 1},
    "runtime_env": {"env_vars": {"A": "b"}},
    "scheduling_strategy": "SPREAD",
    "enable_task_events": False,
    "_labels": {"a": "b"},
    "max_calls": 3,
    "max_retries": 0,
    "retry_exceptions": True,
    "_generator_backpressure_num_objects": 5,
    "_num_objects_per_yield": 2,
}
NOT_FOR_TASKS = {"object_store_memory"}  # Ray refuses it itself


def test_every_option_that_ray_takes_for_tasks_is_taken() -> None:
    import ray

    # Not imported by its own name: prefect-ray's lazy import of Ray does not survive that.
    known = ray.remote_function.ray_option_utils.task_options
    assert {*OPTIONS, *NOT_FOR_TASKS, "num_returns"} == set(known)
    for name, value in OPTIONS.items():
        assert remote(pack, {name: value}) is not None


@pytest.mark.parametrize("name", ["max_calls", "_num_objects_per_yield"])
def test_what_options_refuses_is_told_when_the_function_is_made(name: str) -> None:
    import ray

    with pytest.raises(ValueError, match=name):
        ray.remote(process_id.fn).options(**{name: OPTIONS[name]})
    assert name in DECORATOR_OPTIONS


def test_a_worker_counts_the_calls_of_each_task_apart() -> None:
    def function(task: Any, **options: Any) -> Any:
        (made,) = {
            cell.cell_contents
            for cell in remote(task, options).remote.__func__.__closure__
            if type(cell.cell_contents).__name__ == "RemoteFunction"
        }
        return made

    counted = function(pack, max_calls=3)
    assert counted._max_calls == 3
    assert function(pack, max_calls=3, num_cpus=2) is counted
    assert function(process_id, max_calls=3) is not counted
    assert function(pack) is function(process_id)
    assert function(pack)._max_calls == 0
    assert function(pack, num_gpus=1)._max_calls == 1  # as with ``ray.remote(num_gpus=1)``


def test_num_returns_is_refused() -> None:
    with pytest.raises(ValueError, match="num_returns=2 is for Ray's own functions"):
        remote(pack, {"num_returns": 2})
    assert remote(pack, {"num_returns": 1}) is not None


def test_a_worker_ends_after_max_calls(ray_place: Place) -> None:
    left: list[int] = []

    @flow
    def ends_workers() -> None:
        with remote_options(max_calls=1):
            left.append(process_id.submit().result())

    recorded = ray_place.run(ends_workers)
    assert recorded.row["error"] is None
    wait_for(lambda: not psutil.pid_exists(left[0]), 30, "the end of the worker")
