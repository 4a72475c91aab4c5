"""More runs than processors, and a worker that drains."""

from kodosumi_prefect.database.worker_messages import Message
from tests.faults.pool import Pool
from tests.waiting import wait_for

RUNS = 8
TASKS = 3


def test_eight_runs_with_tasks_all_finish_on_two_processors(pool: Pool):
    worker = pool.worker(warm_runners="2").until_ready()
    wait_for(lambda: pool.service(worker)["warm"] == 2, 90, "two warm Runners")
    runs = [pool.run("with_many", {"count": TASKS}) for _ in range(RUNS)]
    for run in runs:
        found = run.ended(150)
        assert found.row["status"] == "finished", found.row["error"]
        assert found.final == {"int": TASKS}
        assert len(run.noted("began")) == 1 + TASKS


def test_a_draining_worker_ends_when_its_runs_have(pool: Pool):
    worker = pool.worker().until_ready()
    run = pool.run("until_told")
    run.until_noted("began")
    pool.tell(Message("drain", "another"))
    pool.tell(Message("drain", worker.name))
    wait_for(lambda: pool.service(worker)["draining"], 20, "the worker to drain")
    late = pool.run("gentle")
    assert worker.exit_code is None
    run.say("go")
    run.until("Completed", seconds=45)
    worker.wait(40)
    assert "draining: no new runs are taken" in worker.log
    assert run.ended().row["status"] == "finished"
    assert late.state in ("Scheduled", "Late")
