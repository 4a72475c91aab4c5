"""A worker outside of the cluster, which reaches it as ``ray://head:port`` only."""

from kodosumi_prefect.runner.ray_client import ray_client_environment
from kodosumi_prefect.settings import PREFIX, read_address
from tests.faults.cluster import kill
from tests.faults.pool import Pool, Worker, end_of
from tests.waiting import wait_for


def test_a_worker_outside_runs_supervises_and_keeps_runners_ready(pool: Pool):
    settings = pool.place.settings
    recorded = read_address(settings, "ray")
    assert recorded is not None
    environment = {
        **ray_client_environment(settings),
        f"{PREFIX}RAY_ADDRESS": recorded["client_address"],
        f"{PREFIX}WARM_RUNNERS": "1",
    }
    worker = Worker("outside", pool.name, pool.place, pool.folder / "outside", **environment)
    pool.workers.append(worker)
    worker.until_ready()
    wait_for(lambda: pool.service(worker)["warm"], 60, "a warm Runner")
    warm = pool.runners()
    run = pool.run("gentle")
    assert run.ended(60).final == {"str": "done"}
    assert run.until_placed() in warm
    doomed, cancelled = pool.run("ticking"), pool.run("ticking")
    doomed.until_noted("tick flow 5", 60)
    kill(doomed.pid())
    found = doomed.ended()
    assert "SIGKILL" in doomed.prefect["state"]["message"]
    assert end_of(found) == ["error", "status"]
    cancelled.until_noted("tick flow 5", 60)
    cancelled.cancel()
    cancelled.until("Cancelled")
