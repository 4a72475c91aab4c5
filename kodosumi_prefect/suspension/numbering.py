"""Which call is which: each is numbered where it is made, so that later legs know it again."""

import logging
from collections.abc import Callable
from typing import Any

from kodosumi_prefect._compat.prefect import FLOW_CONTEXT
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.suspension.arguments import compared
from kodosumi_prefect.suspension.calls import Call, Here, here, unpacked
from kodosumi_prefect.suspension.code import names_suspending
from kodosumi_prefect.suspension.keeping import keeper
from kodosumi_prefect.suspension.records import Record, record_of

CALL = "kodosumi_call"  # attribute of the task objects that are called

logger = logging.getLogger(__name__)


def place_here() -> str | None:
    """The place that the calling code is in, by which each leg knows it; None if none does."""
    at = current()
    if at is None:
        return None
    return f"{at.place.path}|{at.branch}" if at.branch else at.place.path


def current() -> Here | None:
    """Where the calling code is, if calls are kept there."""
    at = here.get()
    if at is None:
        return None
    context = FLOW_CONTEXT.get(None)
    if context is None or context.flow_run is None:
        return None
    if at.flow_run is None:
        at.flow_run = context.flow_run.id
    return at if at.flow_run == context.flow_run.id else None


def keeping_here() -> Here | None:
    """Where the calling code is, if what it calls is to be kept."""
    at = current()
    if at is None:
        return None
    record = record_of(at.place.attempt, make=True)
    if record.keeps is None:
        record.keeps = names_suspending()
    return at if record.keeps else None


def next_call(
    at: Here, sort: str, called: Any, function: Callable[..., Any], parameters: dict[str, Any]
) -> Call:
    record = record_of(at.place.attempt, make=True)
    arguments, derived = compared(parameters, record.runs.get)
    key = f"{sort}:{getattr(function, '__qualname__', type(function).__name__)}:{called.name}"
    call, differing = at.place.number(at.branch, key, called.name, arguments, derived)
    if differing:
        follows = "is done and not done again, and returns what it returned then"
        if not call.finished:
            follows = "begins anew, with the questions and the finished tasks that it had then"
        logger.warning(
            "%s was called with another %s before this run was suspended; it %s",
            called.name,
            ", ".join(differing),
            follows,
        )
    return call


def call_of(task: Any) -> Call | None:
    packed = vars(task).get(CALL)
    return None if packed is None else unpacked(packed)


def kept_in(record: Record, call: Call) -> Callable[[], Any]:
    """What earlier legs finished of the calls made in this one, read when the first is made."""
    if not call.attempt.leg:
        return dict
    if record.whole:
        return lambda: record.kept
    return lambda: keeper(get_settings()).calls(call.attempt, call.path)
