"""Prefect's states in Kodosumi's five words."""

import pytest
from prefect import states
from prefect.client.schemas.objects import State, StateType

from kodosumi_prefect.events import Status
from kodosumi_prefect.status import is_worth_a_row, reason, recorded, status_of


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (states.Scheduled(), Status.STARTING),
        (states.Late(), Status.STARTING),
        (State(type=StateType.SCHEDULED, name="AwaitingConcurrencySlot"), Status.STARTING),
        (states.Pending(), Status.STARTING),
        (State(type=StateType.PENDING, name="Submitting"), Status.STARTING),
        (State(type=StateType.PENDING, name="InfrastructurePending"), Status.STARTING),
        (states.Running(), Status.RUNNING),
        (states.Retrying(), Status.RUNNING),
        (states.AwaitingRetry(), Status.RUNNING),
        (states.Cancelling(), Status.RUNNING),
        (states.Paused(), Status.AWAITING),
        (states.Suspended(), Status.AWAITING),
        (states.Completed(), Status.FINISHED),
        (State(type=StateType.COMPLETED, name="Cached"), Status.FINISHED),
        (states.Failed(), Status.ERROR),
        (State(type=StateType.FAILED, name="TimedOut"), Status.ERROR),
        (states.Crashed(), Status.ERROR),
        (states.Cancelled(), Status.ERROR),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_state_has_a_word(state: State, status: Status) -> None:
    assert status_of(state) is status


@pytest.mark.parametrize("state_type", StateType)
def test_a_state_of_any_name_has_a_word(state_type: StateType) -> None:
    assert status_of(State(type=state_type, name="Of some later Prefect")) in Status


def test_only_a_run_scheduled_for_later_has_no_row() -> None:
    assert not is_worth_a_row(states.Scheduled())
    assert is_worth_a_row(states.Late())
    assert is_worth_a_row(states.AwaitingRetry())
    assert is_worth_a_row(states.Pending())


def test_a_state_is_recorded_with_its_own_time() -> None:
    state = states.Failed(message="no luck")
    assert recorded(state) == (
        str(state.id),
        "FAILED",
        "Failed",
        "no luck",
        state.timestamp.timestamp(),
    )
    assert recorded(states.Running()).message == ""


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (states.Crashed(message="out of\n  memory"), "Crashed: out of memory"),
        (states.Cancelled(), "Cancelled"),
        (states.Failed(message="Failed"), "Failed"),
    ],
    ids=["message", "none", "same"],
)
def test_the_reason_of_a_bad_end_is_one_line(state: State, text: str) -> None:
    assert reason(state) == text
