"""How Ray is told to run a task, with the options that a user gives."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from prefect.tasks import Task

from kodosumi_prefect.task_runner.work import run_apart

# Options that `ray.remote` takes and `.options` refuses, or that it takes something else from:
# a task with a GPU has a worker of its own unless it says how many calls a worker serves.
DECORATOR_OPTIONS = ("max_calls", "num_gpus", "_num_objects_per_yield")


def remote(task: "Task[..., Any]", options: Mapping[str, Any]) -> Any:
    """What runs ``task`` in a worker, as Ray knows it; its ``remote`` returns two references.

    Arguments:
        options: what ``ray.remote`` takes.

    Raises:
        ValueError: Ray does not know an option, or it is ``num_returns``.
    """
    if options.get("num_returns") not in (None, 1):
        raise ValueError(
            f"num_returns={options['num_returns']!r} is for Ray's own functions; "
            "a Prefect task has one result, leave it out"
        )
    decorated = tuple((name, options[name]) for name in DECORATOR_OPTIONS if name in options)
    others = {name: value for name, value in options.items() if name not in DECORATOR_OPTIONS}
    # A worker counts calls by function, so that each task with such options has its own.
    function = _function(task.task_key if decorated else None, decorated)
    return function.options(**others | {"num_returns": 2})


@lru_cache(maxsize=1024)
def _function(task_key: str | None, decorated: tuple[tuple[str, Any], ...]) -> Any:
    # Once and not for each submit: Ray stores every function that it makes on the cluster.
    import ray

    work: Any = run_apart
    return ray.remote(**dict(decorated))(work) if decorated else ray.remote(work)
