"""The states of Prefect in which a run waits for people, in a process or without one."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Paused

from kodosumi_prefect.suspension.leg import key_of_end
from kodosumi_prefect.vocabulary import AWAITING_INPUT

# What Prefect answers to resuming: it goes on; it is not paused any more, by whomever.
RESUMED = (SetStateStatus.ACCEPT, SetStateStatus.ABORT)


def in_process(heading: str, expires: float, again: bool = False) -> State[Any]:
    """Paused while the run's process waits.

    Arguments:
        heading: what is asked.
        expires: seconds since the epoch.
        again: somebody resumed the run in Prefect, which is no answer.
    """
    message = _message(heading, expires)
    if again:
        message += " Resuming the run does not answer it."
    return Paused(name=AWAITING_INPUT, message=message, pause_key=f"kodosumi-{uuid4()}")


def suspended(flow_run: FlowRun, heading: str, expires: float) -> State[Any]:
    """Paused after the current leg; the next one is scheduled when the run is resumed."""
    return Paused(
        name=AWAITING_INPUT,
        message=f"{_message(heading, expires)} The run's process has ended; the answer begins one.",
        pause_key=key_of_end(flow_run),
        reschedule=True,
    )


def waits_in_process(state: "State[Any] | None") -> bool:
    """Whether a run is paused while its process is there."""
    return state is not None and state.is_paused() and not state.state_details.pause_reschedule


def awaits_in_process(state: "State[Any] | None") -> bool:
    """As ``waits_in_process``, by a state of ours."""
    return waits_in_process(state) and state is not None and state.name == AWAITING_INPUT


def is_suspended(state: "State[Any] | None") -> bool:
    """Whether a run waits without a process, whoever suspended it."""
    return state is not None and state.is_paused() and bool(state.state_details.pause_reschedule)


def suspended_by_us(state: "State[Any] | None") -> bool:
    """As ``is_suspended``, by a state of ours."""
    return is_suspended(state) and state is not None and state.name == AWAITING_INPUT


def holds_slot(state: "State[Any] | None") -> bool:
    """Whether a run has a slot of its deployment's concurrency limit, which a pause gives up.

    Its engine renews the lease of that slot, and would cancel the run without it.
    """
    return state is not None and state.state_details.deployment_concurrency_lease_id is not None


def uncounted(flow_run: FlowRun) -> Any:
    """The policy by which Prefect does not count the run once more when its pause ends."""
    return flow_run.empirical_policy.model_copy(update={"resuming": True})


def _message(heading: str, expires: float) -> str:
    until = datetime.fromtimestamp(expires, UTC)
    return f"Waits for an answer to {heading!r}, until {until:%Y-%m-%d %H:%M} UTC."
