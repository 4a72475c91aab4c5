"""What calls returned or raised, handed to where it is kept; or why it cannot be."""

from typing import Any

from prefect.client.schemas.objects import State

from kodosumi_prefect._compat import prefect_calls
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.suspension import outcomes
from kodosumi_prefect.suspension.calls import Call
from kodosumi_prefect.suspension.keeping import Row, keeper


def keep_state(call: Call, state: "State[Any]") -> None:
    """Keep the final state of a task run."""
    content = prefect_calls.content_of(state)
    if state.is_failed() and isinstance(content, BaseException):
        keep_error(call, content)
        return
    if state.is_completed() and state.name in ("Completed", "Cached") and not state.message:
        _keep(call, outcomes.VALUE, content)
        return
    _keep(call, outcomes.STATE, (state.type.value, state.name, state.message, content))


def keep_result(call: Call, result: Any) -> None:
    """Keep what a subflow returned; not a state by which it is to run again."""
    if isinstance(result, State):
        if result.is_completed() or result.is_failed():
            keep_state(call, result)
    else:
        _keep(call, outcomes.VALUE, result)


def _keep(call: Call, outcome: str, value: Any) -> None:
    try:
        row = Row(call, outcome, outcomes.dumped(value))
    except outcomes.NotKeptError as exc:
        row = Row(call, None, None, str(exc))
    store(row)


def keep_error(call: Call, error: BaseException) -> None:
    """Keep what a call raised."""
    try:
        row = Row(call, outcomes.ERROR, outcomes.dumped_error(error))
    except outcomes.NotKeptError as exc:
        row = Row(call, None, None, str(exc))
    store(row)


def store(row: Row) -> None:
    """Keep a row, for the database of this process."""
    keeper(get_settings()).keep(row)
