"""SIGKILL of what executes a run: its Runner, its Ray tasks, their nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Node, RayNodes, kill
from tests.faults.pool import Pool, Run, end_of
from tests.services import Place
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def lost(nodes: RayNodes) -> list[Node]:
    """Two nodes that are to be killed."""
    return nodes.add("lost-runner", "lost-task")


@pytest.fixture(scope="module")
def runs(
    observed: Place, lost: list[Node], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Run]]:
    """One run for each fault, begun together."""
    with Pool(observed, Path(tmp_path_factory.mktemp("pool"))) as pool:
        worker = pool.worker()
        for node in lost:
            wait_for(node.ready, 60, f"node {node.name}")
        worker.until_ready()
        runner_node, task_node = lost
        there = {"options": {"num_cpus": 0, **task_node.job}}
        yield {
            "runner": pool.run("ticking"),
            "task": pool.run("with_task", {"options": {"num_cpus": 0}}),
            "native": pool.run("with_native"),
            "runner node": pool.run("ticking", **runner_node.job),
            "task node": pool.run("with_task", there),
            "native node": pool.run("with_native", there),
        }


def test_a_killed_runner_is_a_crash_that_says_so(runs: dict[str, Run]):
    run = runs["runner"]
    run.until_noted("tick flow 50")
    fault = kill(run.pid())
    state = run.until("Crashed")["state"]
    assert "SIGKILL" in state["message"]
    found = run.ended()
    run.kept(found, fault)
    assert found.row["status"] == "error"
    assert "SIGKILL" in found.of("error")[0]
    assert end_of(found) == ["error", "status"]


@pytest.mark.parametrize("who", ["task", "native"])
def test_a_killed_ray_task_fails_its_flow(runs: dict[str, Run], who: str):
    run = runs[who]
    run.until_noted(f"tick {who} 50")
    fault = kill(run.pid(who))
    run.until("Failed", "Crashed")
    found = run.ended()
    run.kept(found, fault)
    assert found.row["status"] == "error"
    assert len(found.of("error")) == 1
    assert "worker" in found.of("error")[0]


@pytest.mark.parametrize("who", ["task", "native"])
def test_a_lost_node_fails_the_flows_that_had_tasks_there(
    runs: dict[str, Run], lost: list[Node], who: str
):
    run = runs[f"{who} node"]
    if who == "task":
        for name in ("task", "native"):
            runs[f"{name} node"].until_noted(f"tick {name} 50")
        lost[1].kill()
    run.until("Failed", "Crashed")
    found = run.ended()
    run.kept(found, lost[1].killed_at)
    assert found.row["status"] == "error"
    assert len(found.of("error")) == 1


def test_a_runner_whose_node_is_lost_is_a_crash_that_says_so(
    runs: dict[str, Run], lost: list[Node]
):
    run = runs["runner node"]
    run.until_noted("tick flow 50")
    fault = lost[0].kill()
    state = run.until("Crashed")["state"]
    assert "node was lost" in state["message"]
    found = run.ended()
    run.kept(found, fault)
    assert found.row["status"] == "error"
