"""A run that waits in its process under its deployment's concurrency limit, for real time."""

import time
from typing import Any

import pytest

from tests.answering import until_open
from tests.faults.pool import Pool, Run, ask
from tests.faults.test_suspended import FLOWS, reply
from tests.waiting import wait_for

LEASE = 300.0  # seconds for which Prefect's engine takes and renews the lease of its slot
BEYOND = 40.0  # seconds in which Prefect, looking every 15, has taken back what was not renewed

pytestmark = pytest.mark.timeout(900)


def slots(pool: Pool, deployment: str) -> int:
    """How many runs of a deployment have a slot."""
    found = ask(f"{pool.place.api_url}/deployments/{deployment}")
    return int(found["global_concurrency_limit"]["active_slots"])


def begun(pool: Pool, deployment: str, **parameters: Any) -> Run:
    notes = pool.new_notes()
    return pool.run_deployment(deployment, {"notes": str(notes), **parameters}, notes)


def test_a_run_waits_for_longer_than_the_lease_of_its_slot(shared_pool: Pool):
    deployment = shared_pool.deployment(f"{FLOWS}:asks_in_process", concurrency_limit=1)
    run = begun(shared_pool, deployment, fails=False)
    run.until_noted("pid flow")
    until_open(shared_pool.place.database, 1, run.fid)
    other = begun(shared_pool, deployment, fails=False)
    other.until("AwaitingConcurrencySlot")
    over = time.monotonic() + LEASE + BEYOND
    while time.monotonic() < over:
        assert run.state == "Running"
        assert slots(shared_pool, deployment) == 1
        assert other.noted("pid flow") == []
        time.sleep(1)
    reply(run, 1)
    run.until("Completed")
    assert run.ended().final == {"int": 1}
    assert run.noted("hook") == []
    other.until_noted("pid flow", seconds=90)  # Prefect looks for a slot every 30 seconds
    until_open(shared_pool.place.database, 1, other.fid)
    reply(other, 2)
    other.until("Completed")
    wait_for(lambda: slots(shared_pool, deployment) == 0, 30, "the slot to be free")
