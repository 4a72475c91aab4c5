"""Which leg of its attempt a run is in, as Prefect's pause keys tell it."""

from uuid import uuid4

from prefect.client.schemas.objects import FlowRun, FlowRunPolicy

from kodosumi_prefect.suspension.leg import (
    current_leg,
    key_of_end,
    leg_of,
    next_attempt,
    suspended_before,
)


def run(*keys: str, run_count: int = 1, resuming: bool = False) -> FlowRun:
    policy = FlowRunPolicy(pause_keys=set(keys), resuming=resuming)
    return FlowRun(flow_id=uuid4(), run_count=run_count, empirical_policy=policy)


def test_each_suspension_begins_a_leg_and_other_pauses_do_not() -> None:
    first = run("of somebody else", "1")
    assert leg_of(first) == 0
    second = run("1", key_of_end(first))
    third = run(key_of_end(first), key_of_end(second))
    assert (leg_of(second), leg_of(third)) == (1, 2)
    assert key_of_end(third) not in (key_of_end(first), key_of_end(second))


def test_legs_are_counted_within_the_attempt() -> None:
    keys = [key_of_end(run())]
    assert leg_of(run(*keys)) == 1
    assert leg_of(run(*keys, run_count=2)) == 0


def test_another_leg_is_of_the_same_attempt() -> None:
    assert next_attempt(run(run_count=0)) == 1
    assert next_attempt(run(run_count=1, resuming=True)) == 1
    assert next_attempt(run(run_count=1)) == 2


def test_code_outside_of_runs_is_in_no_later_leg() -> None:
    assert current_leg() == 0
    assert not suspended_before()
