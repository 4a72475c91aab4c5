"""Runs that wait for people, in a process and without one, on a real Prefect and a real Ray."""

import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.answering import answer, locks, until_open
from tests.faults.cluster import gone, kill
from tests.faults.pool import Pool, Run
from tests.waiting import wait_for

FLOWS = Path(__file__).with_name("flows_that_ask.py")


def asking(pool: Pool, flow: str, **parameters: Any) -> Run:
    """A run of a flow that asks."""
    notes = pool.new_notes()
    parameters["notes"] = str(notes)
    return pool.run_deployment(pool.deployment(f"{FLOWS}:{flow}"), parameters, notes)


def execution(run: Run) -> dict[str, Any]:
    with psycopg.connect(run._place.database, row_factory=dict_row) as connection:
        row = connection.execute(
            "SELECT * FROM kodosumi.execution WHERE fid = %s", [run.fid]
        ).fetchone()
    assert row is not None
    return row


def until_suspended(run: Run, seconds: float = 60) -> dict[str, Any]:
    """Wait until nothing of a run is left but rows; its question."""

    def paused() -> bool:
        state = run.prefect["state"]
        return state["name"] == "AwaitingInput" and state["state_details"]["pause_reschedule"]

    try:
        wait_for(paused, seconds, "the run to be suspended", every=0.1)
    except AssertionError:
        said = [event.payload for event in run._place.recorded(run.fid).events]
        raise AssertionError(f"{run.prefect['state']}\n{execution(run)}\n{said}") from None
    wait_for(lambda: gone(run.pid()), 30, "its process to end")
    assert execution(run)["status"] == "awaiting"
    return until_open(run._place.database, 1, run.fid)[0]


def reply(run: Run, n: int, lock: dict[str, Any] | None = None) -> float:
    """Answer its question; when that was."""
    lock = lock or until_open(run._place.database, 1, run.fid)[0]
    at = time.time()
    answer(run._place.database, run.fid, lock["lid"], {"n": n})
    return at


def test_a_suspended_run_goes_on_under_the_next_worker(shared_pool: Pool):
    worker = shared_pool.workers[0]
    run = asking(shared_pool, "asks_twice", suspend=0)
    first = until_suspended(run)
    wait_for(lambda: shared_pool.runner(run) is None, 30, "its Runner to be put away")
    worker.kill()
    reply(run, 1, first)
    run.until("Resuming")
    worker.start()
    second = until_suspended(run, 90)
    assert second["lid"] != first["lid"]
    assert len(set(run.noted("pid"))) == 2
    reply(run, 2, second)
    run.until("Completed", seconds=60)
    found = run.ended()
    assert [entry["int"] for entry in found.final["__list__"]] == [1, 2]
    assert found.of("status") == [
        *("starting", "running", "awaiting", "running", "awaiting", "running", "finished")
    ]
    assert len(found.of("lock")) == len(found.of("lease")) == 2
    assert run.noted("hook") == []
    assert run.prefect["run_count"] == found.row["attempt"] == 1


def test_a_run_killed_once_prefect_suspended_it_goes_on(shared_pool: Pool):
    run = asking(shared_pool, "dies_while_suspending", step="request_suspension")
    question = until_suspended(run)
    wait_for(lambda: shared_pool.runner(run) is None, 60, "its Runner to be put away")
    assert run.state == "AwaitingInput", run.prefect["state"]
    reply(run, 1, question)
    run.until("Completed", seconds=60)
    found = run.ended()
    assert found.final == {"int": 1}
    assert run.noted("hook") == []
    assert len(found.of("lock")) == 1


def test_a_run_killed_before_prefect_suspended_it_is_a_killed_run(shared_pool: Pool):
    run = asking(shared_pool, "dies_while_suspending", step="_set")
    crashed = run.until("Crashed", seconds=90)
    assert "SIGKILL" in crashed["state"]["message"]
    found = run.ended()
    assert found.row["status"] == "error"
    run.until_noted("hook Crashed")
    wait_for(lambda: execution(run)["suspended_leg"] is None, 30, "nobody to wait for it")
    (question,) = locks(run._place.database, run.fid, None)
    assert question["state"] == "void"


def test_a_process_that_is_killed_while_prefect_shows_it_paused_has_crashed(shared_pool: Pool):
    run = asking(shared_pool, "asks_in_process", fails=False)
    run.until("AwaitingInput", seconds=90)
    kill(run.pid())
    run.until("Crashed")
    assert run.ended().row["status"] == "error"
    run.until_noted("hook Crashed")


def test_a_run_that_waits_in_its_process_is_found_by_the_next_worker(shared_pool: Pool):
    worker = shared_pool.workers[0]
    run = asking(shared_pool, "asks_in_process", fails=True)
    run.until("AwaitingInput", seconds=90)
    worker.kill()
    worker.start()
    wait_for(lambda: "taking over Runner" in worker.log, 60, "the Runner to be found again")
    reply(run, 1)
    until_open(run._place.database, 1, run.fid)  # of the next attempt
    run.until("AwaitingInput")
    run.cancel()
    run.until("Cancelled")
    found = run.ended()
    assert found.row["attempt"] == 2
    assert run.noted("hook") == ["hook Cancelling"]
