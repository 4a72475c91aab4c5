"""Prefect's state hooks, by which a flow's own process reports its states as early as possible."""

import logging
from typing import Any

from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.objects import State as PrefectState
from prefect.flows import Flow
from prefect.tasks import Task

from kodosumi_prefect.adapter.at_work import Work
from kodosumi_prefect.adapter.execution import (
    abandon,
    open_execution,
    report_state,
    tell_final_of,
)
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.suspension.leg import next_attempt
from kodosumi_prefect.vocabulary import FLOW_ATTRIBUTE

logger = logging.getLogger(__name__)


def record_state(flow: "Flow[..., Any]", flow_run: FlowRun, state: PrefectState) -> None:
    """Record a state that a root flow run entered. Never fails the run.

    In ``on_running`` the run count is still that of the attempt before. Prefect's worker calls
    ``on_cancellation`` in a process of its own, which does not run the flow.
    """
    if not get_settings().enabled or flow_run.parent_task_run_id is not None:
        return
    runs = state.is_running()
    if runs and hasattr(flow.fn, FLOW_ATTRIBUTE):
        return  # the wrapper around its function reports at once, and knows its parameters
    try:
        attempt = next_attempt(flow_run) if runs else max(flow_run.run_count, 1)
        live = open_execution(flow, flow_run, attempt, running=runs)
        if state.is_completed():
            tell_final_of(live, state)
        report_state(live, state, live.scope.attempt)
    except Exception:
        logger.exception("state %s of flow run %s was not recorded", state.name, flow_run.id)
        if state.is_final():
            abandon(str(flow_run.id))


# Prefect logs the names of hooks it runs. Ours is recognised by a name no other has; pickle
# and Prefect find it by its qualified name all the same.
record_state.__name__ = "kodosumi_prefect.record_state"


def _is_not_about_ours(record: logging.LogRecord) -> bool:
    """Keep "Running hook …" and "Hook … finished …" for the hooks that users wrote."""
    if not str(record.msg).startswith(("Running hook ", "Hook ")):
        return True
    return repr(record_state.__name__) not in record.getMessage()


# At the loggers and not at its handlers: console, Prefect's pages and we all drop them.
for _name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
    logging.getLogger(_name).addFilter(_is_not_about_ours)


def attach(flow: "Flow[..., Any] | None") -> None:
    """Have a flow object report its states, if it does not yet; lists of the user stay theirs."""
    if flow is None:
        return
    for name in _HOOKS:
        hooks = getattr(flow, name)
        if record_state not in hooks:
            setattr(flow, name, [*hooks, record_state])


def name_task_run(task: "Task[..., Any]", work: Work) -> None:
    """Have a task object of this call tell which task run it is, before its code begins."""
    task.on_running_hooks = [_Began(work), *task.on_running_hooks]


class _Began:
    """A hook of one call in this process, which it does not leave with a task that it submits.

    Arguments:
        work: what learns of the task run; None in another process.
    """

    def __init__(self, work: Work | None = None) -> None:
        self._work = work
        self.__name__ = record_state.__name__

    def __call__(self, task: "Task[..., Any]", task_run: TaskRun, state: PrefectState) -> None:
        if self._work is not None:
            self._work.task_run = str(task_run.id), task_run.name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


_HOOKS = (
    "on_running_hooks",
    "on_completion_hooks",
    "on_failure_hooks",
    "on_crashed_hooks",
    "on_cancellation_hooks",
)
