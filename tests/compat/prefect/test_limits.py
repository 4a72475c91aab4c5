"""What Prefect's server decides of runs, our pools heed: limits, queues, pauses, automations."""

from typing import Any

from tests.compat.prefect.pools import Pools
from tests.faults.pool import Pool, ask
from tests.prefect_http import ask_prefect

WITHIN = 60.0  # seconds


def change(pool: Pool, **fields: Any) -> None:
    """Change a work pool, as its page does."""
    url = f"{pool.place.api_url}/work_pools/{pool.name}"
    ask_prefect("PATCH", url, json=fields).raise_for_status()


def queue(pool: Pool, name: str, **fields: Any) -> None:
    ask(f"{pool.place.api_url}/work_pools/{pool.name}/queues", {"name": name, **fields})


def test_a_pool_with_a_limit_takes_one_run_after_the_other_by_the_priority_of_queues(
    pools: Pools,
) -> None:
    pool = pools.ours
    queue(pool, "later", priority=9)
    queue(pool, "sooner", priority=2)
    change(pool, is_paused=True, concurrency_limit=1)
    later = pools.run_on(pool, "counts", {"number": 1}, work_queue_name="later")
    sooner = pools.run_on(pool, "counts", {"number": 2}, work_queue_name="sooner")
    change(pool, is_paused=False)
    first, second = sooner.prefect, later.prefect
    change(pool, concurrency_limit=None)
    assert first["end_time"] <= second["start_time"]


def test_a_queue_with_a_limit_holds_its_runs_back_and_no_others(pools: Pools) -> None:
    pool = pools.ours
    queue(pool, "narrow", concurrency_limit=1)
    first = pools.run_on(pool, "holds", work_queue_name="narrow")
    first.run.until_noted("holding", WITHIN)
    second = pools.run_on(pool, "holds", work_queue_name="narrow")
    assert pools.run_on(pool, "counts", {"number": 3}).state == ("COMPLETED", "Completed")
    first.run.say("go")
    second.run.until_noted("holding", WITHIN)
    second.run.say("go")
    assert first.prefect["end_time"] <= second.prefect["start_time"]


def test_an_automation_cancels_a_run(pools: Pools) -> None:
    pool = pools.ours
    deployment = pools.deployment(pool, "stopped")
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": ["prefect.flow-run.Running"],
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.id": f"prefect.deployment.{deployment}"},
        "threshold": 1,
        "within": 0,
    }
    body = {"name": pool.name, "trigger": trigger, "actions": [{"type": "cancel-flow-run"}]}
    ask(f"{pool.place.api_url}/automations/", body)
    side = pools.run_deployment(pool, deployment)
    assert side.state == ("CANCELLED", "Cancelled")
    assert side.told[-1] == "hook CANCELLING Cancelling"
