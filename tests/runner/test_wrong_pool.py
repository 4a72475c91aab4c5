"""A worker of ours does not begin on a pool of another type."""

import subprocess
import sys
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from tests.services import Place


def test_a_pool_of_another_type_is_refused_in_one_line(place: Place) -> None:
    name = f"of-processes-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    argv = [sys.executable, "-m", "prefect", "worker", "start", "--type", "kodosumi-ray"]
    ended = subprocess.run(
        [*argv, "--pool", name, "--install-policy", "never"],
        env=place.environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 1
    said = ended.stderr.splitlines()
    assert [line for line in said if line.startswith(f"work pool {name} is of type process")]
    # Prefect warns of it, too.
    assert len([line for line in said if "mismatch" not in line]) == 1, ended.stderr
