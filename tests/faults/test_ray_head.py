"""The Ray cluster that is restarted under a running worker."""

from pathlib import Path

import pytest

from kodosumi_prefect.settings import write_address
from kodosumi_prefect.stack.ray_head import plan_ray, ray_child
from tests.faults.pool import Pool
from tests.services import Place, served


@pytest.fixture
def away(observed: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The session's Prefect and database, with a data dir for a Ray of its own."""
    settings = observed.settings.model_copy(update={"data_dir": tmp_path_factory.mktemp("head")})
    write_address(settings, "postgres", {"url": observed.database})
    return Place(settings, observed.database, observed.api_url)


def test_runs_go_on_after_the_ray_head_was_restarted(
    away: Place, tmp_path_factory: pytest.TempPathFactory
):
    head = plan_ray(away.settings)
    child = ray_child(head, away.environment())
    logs = away.settings.data_dir / "logs"
    with Pool(away, Path(tmp_path_factory.mktemp("pool"))) as pool:
        with served(child, logs) as running:
            write_address(away.settings, "ray", head.recorded(running.popen.pid))
            worker = pool.worker().until_ready()
            run = pool.run("ticking")
            run.until_noted("tick flow 50")
        run.until("Crashed")
        run.ended()
        with served(child, logs):
            # Whoever started the worker starts it again, as `up` does.
            assert worker.wait(30) == 1
            assert "Ray cluster was restarted while this worker ran" in worker.log
            worker.start()
            again = pool.run("gentle")
            again.until("Completed", seconds=60)
            again.ended()
