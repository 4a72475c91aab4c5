"""What Prefect documents behaves on our pools as on those of its own process worker."""

from datetime import date
from typing import Any

import pytest
from prefect.settings import temporary_settings

from tests.compat.prefect.pools import Pair, Pools, settled
from tests.services import in_force

# All runs of both pools are begun for the first test, which a busy machine may be at for minutes.
pytestmark = pytest.mark.timeout(600)

# What each feature returns; where a value is not the point, only that both return the same.
FEATURES: dict[str, Any] = {
    "submitting_and_mapping": {
        "mapped": [2, 4, 6],
        "of_a_future": 40,
        "unmapped": [11, 12],
        "done": [4, 0],
        "as_completed": [2, 4, 6],
    },
    "failures_allowed": {
        "allowed": "ValueError",
        "upstream": ["PENDING", "NotReady"],
        "returned": ["ValueError"],
        "quoted": [1, 2],
    },
    "states_of_subflows": [
        ["FAILED", "Failed", "Flow run encountered an exception: KeyError: 'inside'"],
        ["FAILED", "Failed", "1/2 states failed."],
        ["FAILED", "TimedOut", "Flow run exceeded timeout of 1.0 second(s)"],
        ["COMPLETED", "Tidied", "all of it"],
    ],
    "retries_with_jitter": {"tries": [1, 2, 3], "state": "Failed"},
    "caching": {
        "calls": [1, 2, 1],
        "states": [
            ["Completed", 1],
            ["Cached", 1],
            ["Completed", 2],
            ["Cached", 2],
            ["Completed", 1],
        ],
    },
    "transactions": ["committed", "rolled back, lost", "raised"],
    "variables_and_blocks": [{"a": [1, 2]}, 5, "hidden"],
    "variables_of_the_environment": {
        "FROM_VARIABLE": "of a variable",
        "FROM_BLOCK": "of a block",
        "LITERAL": "as it is",
        "TZ": "Asia/Kolkata",
        "zone": "IST",
    },
    "limits": "held back",
    "artifacts": "made",
    "assets": 2,
    "events": "own.happened",
    "work_in_the_background": 2,
    "flows_within": {
        "inner": ["inner-4", 8],
        "generator": [1, 2, 3],
        "task_generator": [4, 5],
        "async": 7,
    },
    "pools_of_python": [[1, 4], [9]],
    "programs": ["a program\n", 3],
    "what_is_logged": "logged",
    "filters_of_states": 1,
    "groups_of_tasks": [1, 2, 3, 6, 7],
    "threads_of_asyncio": 8,
    "async_subflows": [[2, 3], [0, 1, 2], "Completed", "Completed"],
    "submitting_from_async_code": [8, [2, 4]],
    "a_task_that_takes_too_long": "TimedOut",
}


# How each run ends.
ENDS = {
    "features": ("COMPLETED", "Completed"),
    "async_features": ("COMPLETED", "Completed"),
    "suspends": ("COMPLETED", "Completed"),
    "pauses": ("COMPLETED", "Completed"),
    "stopped": ("CANCELLED", "Cancelled"),
    "tidy": ("COMPLETED", "Tidied"),
    "untyped": ("FAILED", "Failed"),
    "untidy": ("FAILED", "Untidy"),
    "fails": ("FAILED", "Failed"),
    "takes_long": ("FAILED", "TimedOut"),
    "exits": ("CRASHED", "Crashed"),
    "leaves": ("CRASHED", "Crashed"),
    "missing": ("CRASHED", "Crashed"),
    "unpicklable": ("COMPLETED", "Completed"),
    "main": ("COMPLETED", "Completed"),
    "calls": ("COMPLETED", "Completed"),
}
# What they and their hooks note.
GOT = (
    "got Model(name='one', day=datetime.date(2026, 11, 29)) Data(count=3) <Colour.RED: 'red'> "
    "[datetime.date(2026, 11, 29), datetime.date(2026, 11, 30)]"
)
NOTES: dict[str, list[str]] = {
    "async_features": ["hook COMPLETED Completed", "async hook COMPLETED Completed"],
    "suspends": ["answer typed 2", "hook COMPLETED Completed"],
    "pauses": ["answer typed 1", "received hello"],
    "stopped": ["began", "hook CANCELLING Cancelling"],
    "tidy": ["hook RUNNING Running", GOT, "hook COMPLETED Tidied", "partial Tidied"],
    "untyped": ["hook FAILED Failed"],
    "fails": [
        "hook RUNNING Running",
        "hook RUNNING Running",
        "hook FAILED Failed",
        "async hook FAILED Failed",
    ],
    "takes_long": ["hook FAILED TimedOut"],
    "exits": ["hook CRASHED Crashed"],
    "leaves": ["hook CRASHED Crashed"],
    "main": ["file main.py project", "hook Completed beside", "atexit"],
    "calls": ["called Completed"],
}
# What is another's words, or once more, and why.
DIFFERENT: dict[str, set[str]] = {
    # Prefect's engine ends it, in the run's process; there the worker does, and its hooks' process.
    "stopped": {"message", "history", "logs", "events"},
    # Its message and log say why. Theirs is told by the exit code alone.
    "missing": {"message", "logs"},
    # Subflows get names by chance.
    "calls": {"task_runs"},
    "features": {"logs"},
    # Its hooks are run where its code is fetched again, and log as a run's.
    "exits": {"logs", "events"},
}


each_run = pytest.mark.parametrize("name", ENDS)


def alike(what: str) -> pytest.MarkDecorator:
    """Those runs that are alike in it."""
    names = [name for name in ENDS if what not in DIFFERENT.get(name, ())]
    return pytest.mark.parametrize("name", names)


@each_run
def test_a_run_ends_in_the_same_state(pairs: dict[str, Pair], name: str) -> None:
    ours, theirs = pairs[name]
    assert ours.state == theirs.state == ENDS[name]
    if "message" not in DIFFERENT.get(name, ()):
        assert ours.message == theirs.message


@alike("history")
def test_a_run_goes_through_the_same_states(pairs: dict[str, Pair], name: str) -> None:
    ours, theirs = settled(pairs[name], "history")
    assert ours == theirs


@alike("task_runs")
def test_a_run_has_the_same_task_runs(pairs: dict[str, Pair], name: str) -> None:
    ours, theirs = settled(pairs[name], "task_runs")
    assert ours == theirs


@alike("logs")
def test_a_run_logs_the_same(pairs: dict[str, Pair], name: str) -> None:
    ours, theirs = settled(pairs[name], "logs")
    assert ours == theirs


@each_run
def test_a_run_and_its_hooks_do_the_same(pairs: dict[str, Pair], name: str) -> None:
    expected = NOTES.get(name, [])
    ours, theirs = settled(pairs[name], "told", expected)
    assert ours == theirs == expected


@alike("events")
def test_a_run_emits_the_same_events(pairs: dict[str, Pair], name: str) -> None:
    ours, theirs = settled(pairs[name], "events")
    assert ours == theirs


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_does_the_same(pairs: dict[str, Pair], name: str) -> None:
    whose = "features" if name in pairs["features"].theirs.facts else "async_features"
    ours, theirs = pairs[whose]
    assert ours.facts[name] == theirs.facts[name] == FEATURES[name]


@pytest.mark.parametrize("name", ["what_the_runtime_knows", "the_process", "the_loop"])
def test_a_run_finds_the_same_around_it(pairs: dict[str, Pair], name: str) -> None:
    whose = "async_features" if name == "the_loop" else "features"
    ours, theirs = pairs[whose]
    assert ours.facts[name] == theirs.facts[name]


def test_artifacts_are_the_same(pairs: dict[str, Pair]) -> None:
    ours, theirs = settled(pairs["features"], "artifacts")
    assert ours == theirs
    assert {"found", "rows", "more", "of-a-task"} <= {key for key, _, _ in ours}


def test_a_result_is_read_where_it_is_asked_for(pairs: dict[str, Pair], pools: Pools) -> None:
    with temporary_settings(in_force(pools.ours.place.api_url)):
        for side in pairs["tidy"]:
            assert side.result == {"day": date(2026, 11, 29)}


def test_a_run_beyond_its_deployments_limit_is_turned_away(pairs: dict[str, Pair]) -> None:
    for one, other in zip(pairs["holds"], pairs["turned away"], strict=True):
        assert sorted([one.run.state, other.run.state]) == ["Cancelled", "Completed"]
