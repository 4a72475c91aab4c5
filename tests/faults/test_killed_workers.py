"""SIGKILL of the Prefect worker, at every stage of what it does for a run."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.cluster import RayNodes, kill
from tests.faults.pool import Pool, Run
from tests.prefect_http import AUTH
from tests.services import Place
from tests.waiting import wait_for

NOWHERE = {"resources": {"later": 0.01}}  # a node that a test adds when it is time


@pytest.fixture(scope="module")
def orphaned(
    observed: Place, nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pool, dict[str, Run], float]]:
    """A pool whose only worker was killed at once for runs at several stages; when that was."""
    with Pool(observed, Path(tmp_path_factory.mktemp("pool"))) as pool:
        worker = pool.worker(ray_autoscaling="true").until_ready()
        runs = {
            "kept": pool.run("until_told"),
            "ended": pool.run("until_told"),
            "crashed": pool.run("ticking"),
            "unnamed": pool.run("ticking"),
            "cancelled": pool.run("ticking"),
            "waiting": pool.run("gentle", **NOWHERE),
            "waiting cancelled": pool.run("gentle", **NOWHERE),
        }
        for name in ("kept", "ended", "crashed", "unnamed", "cancelled"):
            runs[name].until_noted("tick flow" if "tick" in name else "began")
        runs["crashed"].until_noted("tick flow 20")
        for run in runs.values():
            run.until_placed()
        # Being handed over: claimed, its Runner's process on its way, no order given.
        runs["handed"] = pool.run("gentle")
        wait_for(lambda: pool.runner(runs["handed"]), 30)
        at = worker.kill()
        # Just claimed, and nothing else done.
        runs["claimed"] = pool.run("gentle")
        runs["claimed"].set_state("PENDING")
        # As if it had died between giving the order and telling Prefect who has it.
        answer = httpx.patch(runs["unnamed"].api, json={"infrastructure_pid": None}, auth=AUTH)
        assert answer.is_success
        yield pool, runs, at


def test_a_run_goes_on_and_ends_while_no_worker_is_there(orphaned):
    _, runs, _ = orphaned
    run = runs["ended"]
    run.say("go")
    # It has new tasks executed on Ray, although the job that it belongs to has ended.
    run.until("Completed", seconds=45)
    found = run.ended()
    assert found.row["status"] == "finished"
    assert found.final == {"str": "late-task and late-native"}
    assert len(run.noted("began flow")) == 1


def test_a_restarted_worker_finds_its_runners_and_begins_what_was_stranded(orphaned):
    pool, runs, _ = orphaned
    runs["cancelled"].cancel()
    runs["waiting cancelled"].cancel()
    worker = pool.workers[0]
    worker.start()
    for name in ("handed", "claimed"):
        runs[name].until("Completed", seconds=60)
        assert runs[name].ended().row["status"] == "finished"
        assert len(runs[name].noted("began flow")) == 1
    assert "taking over Runner" in worker.log


def test_a_cancellation_that_no_worker_heard_of_is_seen_to(orphaned):
    _, runs, _ = orphaned
    for name in ("cancelled", "waiting cancelled"):
        runs[name].until("Cancelled")
    found = runs["cancelled"].ended()
    assert found.row["status"] == "error"
    assert "ancel" in found.row["error"]
    assert runs["waiting cancelled"].noted() == []


@pytest.mark.parametrize("name", ["crashed", "unnamed"])
def test_a_runner_found_again_is_missed_when_it_is_killed(orphaned, name: str):
    pool, runs, _ = orphaned
    run = runs[name]
    wait_for(lambda: run.fid in pool.workers[0].log, 60, "the worker to find its run again")
    fault = kill(run.pid())
    assert "SIGKILL" in run.until("Crashed")["state"]["message"]
    found = run.ended()
    run.kept(found, fault)
    assert found.row["status"] == "error"
    assert len(run.noted("began flow")) == 1


def test_a_run_begun_by_one_worker_ends_under_the_next(orphaned):
    _, runs, _ = orphaned
    run = runs["kept"]
    run.say("go")
    run.until("Completed")
    assert run.ended().final == {"str": "late-task and late-native"}
    assert len(run.noted("began flow")) == 1


def test_a_run_that_waited_for_a_node_runs_once_there_is_one(orphaned, nodes: RayNodes):
    _, runs, _ = orphaned
    (node,) = nodes.add("later")
    wait_for(node.ready, 60, "the node")
    run = runs["waiting"]
    run.until("Completed", seconds=60)
    assert run.ended().row["status"] == "finished"
    assert len(run.noted("began flow")) == 1


def test_another_worker_of_the_pool_takes_over(pool: Pool):
    first, second = (pool.worker(name, ray_autoscaling="true") for name in ("first", "second"))
    first.until_ready()
    second.until_ready()
    runs = [pool.run("ticking", {"seconds": 12.0}) for _ in range(3)]
    stranded = [pool.run("gentle", resources={"never": 1}) for _ in range(2)]
    for run in runs:
        run.until_noted("tick flow 5", 60)
    for run in stranded:
        run.until_placed()
    owners = {run.fid: pool.runner(run)["worker"] for run in runs}
    doomed = first if first.name in owners.values() else second
    heir = second if doomed is first else first
    doomed.kill()
    for run in runs:
        run.until("Completed", seconds=60)
        found = run.ended()
        assert found.row["status"] == "finished"
        assert len(run.noted("began flow")) == 1
    for run in stranded:
        pool.until_answered_for(run, heir)
        run.cancel()
    for run in stranded:
        run.until("Cancelled")
        assert run.noted() == []


def test_a_run_that_waits_under_another_worker_waits_no_longer_than_it_may(pool: Pool):
    worker = pool.worker(ray_autoscaling="true").until_ready()
    run = pool.run("gentle", resources={"never": 1}, schedule_timeout=25)
    run.until_placed()
    worker.kill()
    assert run.state in ("Pending", "Submitting")
    worker.start()
    pool.until_answered_for(run, worker)
    message = run.until("Crashed", seconds=60)["state"]["message"]
    assert "taking over Runner" in worker.log
    assert "no room within schedule_timeout, 25 s" in message
    assert pool.runners() == set()
    assert message in run.ended().row["error"]
    assert run.noted() == []
