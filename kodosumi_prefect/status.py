"""Prefect's states in Kodosumi's five words."""

from prefect.client.schemas.objects import State as PrefectState
from prefect.client.schemas.objects import StateType

from kodosumi_prefect.events import State, Status
from kodosumi_prefect.vocabulary import RESUMING

STATUS: dict[StateType, Status] = {
    StateType.SCHEDULED: Status.STARTING,
    StateType.PENDING: Status.STARTING,
    StateType.RUNNING: Status.RUNNING,
    StateType.CANCELLING: Status.RUNNING,
    StateType.PAUSED: Status.AWAITING,
    StateType.COMPLETED: Status.FINISHED,
    StateType.FAILED: Status.ERROR,
    StateType.CRASHED: Status.ERROR,
    StateType.CANCELLED: Status.ERROR,
}
# Scheduled states of a run that has begun already.
STARTED_NAMES = frozenset({"Retrying", "AwaitingRetry", RESUMING})


def status_of(state: PrefectState) -> Status:
    """Kodosumi's word for a Prefect state; type, name and message travel beside it."""
    if state.type is StateType.SCHEDULED and state.name in STARTED_NAMES:
        return Status.RUNNING
    return STATUS[state.type]


def recorded(state: PrefectState) -> State:
    """A Prefect state as a ``status`` event carries it."""
    return State(
        id=str(state.id),
        type=state.type.value,
        name=state.name or state.type.value.title(),
        message=state.message or "",
        ts=state.timestamp.timestamp(),
    )


def is_worth_a_row(state: PrefectState) -> bool:
    """Whether an execution begins with this state; runs scheduled for later are read from Prefect.

    ``Late`` and everything past ``Scheduled`` begin one.
    """
    return state.type is not StateType.SCHEDULED or state.name != "Scheduled"


def reason(state: PrefectState) -> str:
    """One line with the reason why a run failed."""
    name = state.name or state.type.value.title()
    message = " ".join((state.message or "").split())
    return f"{name}: {message}" if message and message != name else name
