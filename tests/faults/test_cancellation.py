"""Cancelling runs on Runners: hooks once, the state right, nothing left on Ray."""

import pytest

from tests.faults.cluster import RayNodes, gone
from tests.faults.pool import GRACE, Pool, Run
from tests.waiting import wait_for

# What each flow does when it is cancelled, and who else belongs to it.
WILLING = {
    "ticking": [],
    "sleeping": [],
    "computing": [],
    "awaiting_task": ["task"],
    "awaiting_native": ["native"],
    "with_task": ["task"],
}
# Nothing reaches what these do: they are killed.
UNWILLING: dict[str, list[str]] = {"stubborn": []}


@pytest.fixture(scope="module")
def runs(shared_pool: Pool) -> dict[str, Run]:
    """One run of each kind, all of them cancelled at once when all are under way."""
    runs = {name: shared_pool.run(name) for name in WILLING | UNWILLING if name != "sleeping"}
    # The whole of a node is wanted, of which another run has a part.
    runs["sleeping"] = shared_pool.run("sleeping", resources={"left": 1})
    runs["sleeping"].until_noted("pid", 90)
    runs["waiting"] = shared_pool.run("gentle", resources={"left": 100})
    for name, others in (WILLING | UNWILLING).items():
        for who in ("flow", *others):
            runs[name].until_noted(f"pid {who}", 90)
    runs["waiting"].until_placed()
    # The one that waits for the other goes first.
    runs["waiting"].cancel()
    runs["waiting"].until("Cancelled")
    for name in WILLING | UNWILLING:
        runs[name].cancel()
    return runs


def assert_nothing_left(run: Run, nodes: RayNodes, *processes: str) -> None:
    """Its processes and its actor are gone, or are very soon."""
    pids = [run.pid(who) for who in processes]
    wait_for(lambda: all(map(gone, pids)), 20, f"the end of {processes}")
    name = run.until_placed()
    wait_for(lambda: name not in nodes.runners(), 20, f"the end of {name}")


@pytest.mark.parametrize("name", WILLING)
def test_a_cancelled_run_cleans_up_and_leaves_nothing(
    runs: dict[str, Run], nodes: RayNodes, name: str
):
    run = runs[name]
    message = run.until("Cancelled", seconds=45)["state"]["message"]
    found = run.ended()
    assert found.row["status"] == "error"
    assert found.of("error")[0].startswith("Cancelled")
    assert "killed" not in message
    assert run.noted("hook") == ["hook cancelled"]
    assert_nothing_left(run, nodes, "flow", *WILLING[name])


@pytest.mark.parametrize("name", UNWILLING)
def test_a_run_that_ignores_everything_is_killed_after_the_grace(
    runs: dict[str, Run], nodes: RayNodes, name: str
):
    run = runs[name]
    message = run.until("Cancelled")["state"]["message"]
    assert f"killed after {GRACE:g} s of grace" in message
    found = run.ended()
    assert found.row["status"] == "error"
    assert "grace" in found.of("error")[0]
    assert run.noted("ignored")
    assert run.noted("hook") == ["hook cancelled"], "in another process, once"
    assert_nothing_left(run, nodes, "flow", *UNWILLING[name])


def test_a_run_that_waits_for_resources_is_cancelled_before_it_began(
    runs: dict[str, Run], nodes: RayNodes
):
    run = runs["waiting"]
    run.until("Cancelled")
    found = run.ended()
    assert found.row["status"] == "error"
    assert found.of("error")[0].startswith("Cancelled")
    assert run.noted() == []
    assert_nothing_left(run, nodes)
