"""A Runner reports its run's end itself: there may be no worker to do so."""

import subprocess
import sys

import psycopg
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Pending

from tests.services import Place

EXECUTE = """
import sys
from kodosumi_prefect.runner.execute import execute
from kodosumi_prefect.runner.order import Order

# Settings that cannot be had end the run before Prefect's engine begins it.
outcome = execute(Order(sys.argv[1], {}, {"heartbeat_timeout": -1}))
print(outcome.status, outcome.message)
"""


@flow
def never_begun() -> None:
    """Is not called."""


def test_a_run_that_could_not_be_begun_is_reported_without_a_worker(place: Place) -> None:
    with get_client(sync_client=True) as prefect:
        fid = prefect.create_flow_run(never_begun, state=Pending()).id
        done = subprocess.run(
            [sys.executable, "-c", EXECUTE, str(fid)],
            env=place.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.stdout.startswith("1 "), done.stdout + done.stderr
        assert "ValidationError" in done.stdout
        state = prefect.read_flow_run(fid).state
    assert state is not None and state.is_crashed()
    assert "ValidationError" in (state.message or "")
    found = place.until_ended(str(fid))
    assert found.row["status"] == "error"
    assert "ValidationError" in found.row["error"]
    # By Prefect's own id of the state, or an observer would store it a second time.
    with psycopg.connect(place.database) as connection:
        keys = connection.execute(
            "SELECT dedupe_key FROM kodosumi.seen WHERE execution_id = %s", (found.row["id"],)
        ).fetchall()
    assert (f"state:{state.id}",) in keys
