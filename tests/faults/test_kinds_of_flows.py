"""Every kind of flow on a Runner: async, generators, subflows, retries, pauses, timeouts."""

import pytest

from tests.faults.pool import Pool, Run

KINDS = [
    "gentle",
    "generating",
    "generating_async",
    "outer",
    "retrying",
    "slow",
    "slow_async",
    "slow_on_ray",
    "pausing",
    "suspending",
]


@pytest.fixture(scope="module")
def runs(shared_pool: Pool) -> dict[str, Run]:
    """One run of each kind, begun together."""
    return {name: shared_pool.run(name) for name in KINDS}


def test_an_async_flow_ends_as_finished(runs: dict[str, Run]):
    found = runs["gentle"].ended(60)
    assert found.row["status"] == "finished"
    assert found.final == {"str": "done"}
    assert found.of("debug") == ["asynchronous"]


@pytest.mark.parametrize("kind", ["generating", "generating_async"])
def test_a_generator_flow_runs_to_its_end(runs: dict[str, Run], kind: str):
    found = runs[kind].ended(60)
    assert found.row["status"] == "finished"
    assert found.of("debug") == ["yields 0", "yields 1", "yields 2"]


def test_subflows_write_into_the_stream_of_their_root(runs: dict[str, Run]):
    found = runs["outer"].ended(60)
    assert found.row["status"] == "finished"
    assert found.final == {"str": "onetwo"}
    assert found.of("debug", "stdout") == ["outer", "inner one", "plain two"]


def test_retries_happen_in_place_and_count_as_attempts(runs: dict[str, Run]):
    found = runs["retrying"].ended(60)
    assert found.row["status"] == "finished"
    assert found.final == {"int": 3}
    tries = [event.attempt for event in found.events if event.payload == "trying"]
    assert tries == [1, 2, 3]
    assert len(set(runs["retrying"].noted("pid"))) == 1


@pytest.mark.parametrize("kind", ["slow", "slow_async", "slow_on_ray"])
def test_a_timeout_ends_a_flow(runs: dict[str, Run], kind: str):
    found = runs[kind].ended(60)
    assert runs[kind].state == "TimedOut"
    assert found.row["status"] == "error"
    assert "timeout" in found.row["error"].lower()


def test_a_paused_flow_waits_in_its_process(runs: dict[str, Run]):
    run = runs["pausing"]
    run.until("Paused", seconds=60)
    run.resume()
    found = run.ended()
    assert found.row["status"] == "finished"
    assert found.of("debug") == ["before", "after"]
    assert len(run.noted("began")) == 1


def test_a_suspended_flow_goes_on_in_another_runner(runs: dict[str, Run]):
    run = runs["suspending"]
    run.until("Suspended", seconds=60)
    run.resume()
    run.until("Completed")
    found = run.ended()
    assert found.row["status"] == "finished"
    assert found.of("debug") == ["before", "before", "after"]
    assert len(set(run.noted("pid"))) == 2
