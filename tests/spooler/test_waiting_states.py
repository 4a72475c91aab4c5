"""What Prefect says of runs that wait for people, and what becomes of it in their streams."""

from kodosumi_prefect.events import Event, Kind, State
from kodosumi_prefect.spooler.projection import Projection


def state_of(status: str, type_: str, name: str, ts: float, attempt: int = 1) -> Event:
    prefect = State(f"{name} {ts}", type_, name, "", ts)
    return Event(ts, Kind.STATUS, status, attempt, state=prefect)


def test_what_prefect_says_of_a_run_that_waits_at_its_locks_is_followed_and_not_stored() -> None:
    projection = Projection("running", 1.0, 1, None, "RUNNING", None, "Running")
    states = (
        ("awaiting", "PAUSED", "AwaitingInput"),
        ("running", "SCHEDULED", "Resuming"),
        ("starting", "SCHEDULED", "AwaitingConcurrencySlot"),
        ("starting", "PENDING", "Pending"),
        ("starting", "PENDING", "Submitting"),
        ("running", "RUNNING", "Running"),
    )
    for ts, state in enumerate(states, 2):
        assert not projection.take(state_of(*state, float(ts)), ts)
        assert projection.visible_status == "running"
        parameters = projection.parameters()
        assert (parameters["state_type"], parameters["state_name"]) == state[1:]
    assert projection.take(state_of("finished", "COMPLETED", "Completed", 9.0), 9)
    assert projection.visible_status == "finished"


def test_a_run_that_is_retried_begins_anew_whatever_it_waited_for() -> None:
    projection = Projection("running", 1.0, 1, None, "RUNNING", None, "Running")
    assert projection.take(state_of("running", "SCHEDULED", "AwaitingRetry", 2.0), 2)
    assert projection.take(state_of("starting", "PENDING", "Pending", 3.0), 3)
    assert projection.take(state_of("running", "RUNNING", "Running", 4.0, 2), 4)
    assert projection.attempt == 2
