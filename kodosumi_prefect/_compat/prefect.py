"""Prefect's private API. What is said of it was read in Prefect 3.8.8 unless noted.

Prefect's server has a module of its own, since only services import it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context, ContextVar
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from prefect._internal.infrastructure_exit_codes import get_infrastructure_exit_info
from prefect._internal.metrics import RunMetrics
from prefect._internal.observers import FlowRunCancellingObserver, OnCancellingCallback
from prefect._internal.result_records import ResultRecord as ResultRecord
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.engine import _drive_run_flow_result
from prefect.events.clients import PrefectEventSubscriber
from prefect.events.filters import EventFilter
from prefect.flows import Flow
from prefect.logging import configuration
from prefect.logging.loggers import print_as_log
from prefect.settings import Settings, get_current_settings
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

# The code by which ``log_prints`` logs; it is on the stack of each record that it makes.
PRINT_AS_LOG = print_as_log.__code__

# Where Prefect keeps the flow run and the task run that code is in; ``get()`` of the classes, which
# looks the variable up each time, takes longer.
FLOW_CONTEXT: ContextVar[FlowRunContext] = FlowRunContext.__var__
TASK_CONTEXT: ContextVar[TaskRunContext] = TaskRunContext.__var__

# A list of flow runs that tells little beside their ids, made for the server's own pages.
RUN_HISTORY: Final = "/ui/flow_runs/history"
# A setting of the server: leases of slots outlive its process.
LEASES_IN_FILES: Final = "prefect.server.concurrency.lease_storage.filesystem"

# What our subclasses override or read of Prefect's classes, and so has its name from there.
WORKER_OVERRIDES = (  # of BaseWorker, by KodosumiRayWorker
    "_cancel_run",
    "_get_scheduled_flow_runs",
    "_give_worker_labels_to_flow_run",
    "_initialize_after_sync",
    "_propose_crashed_state",
)
WORKER_ATTRIBUTES = (
    "_description",
    "_logger",
    "_submitting_flow_run_ids",
    "_work_pool",
    "_work_pool_name",
)
JOB_OVERRIDES = ("_base_environment",)  # of BaseJobConfiguration, by KodosumiRayJobConfiguration
TASK_RUNNER_ATTRIBUTES = ("_started",)  # of TaskRunner, by RayTaskRunner
FUTURE_ATTRIBUTES = ("_final_state",)  # of PrefectWrappedFuture, by RayFuture


def value_in(data: Any) -> Any:
    """The result that a completed state holds in memory: ``State.data``, or what its record has."""
    return getattr(data, "result", None) if isinstance(data, ResultRecord) else data


def run_metrics(flow_run: FlowRun, flow: "Flow[..., Any]") -> AbstractContextManager[None]:
    """Prefect's own measuring of a run, which its ``python -m prefect.engine`` begins, too."""
    return RunMetrics(flow_run, flow)


def drive(flow: "Flow[..., Any]", result: object) -> None:
    """Run what ``run_flow`` returned of an async flow or a generator to its end."""
    _drive_run_flow_result(flow, result)


def set_up_logging_anew() -> None:
    """Configure logging by the settings and streams of now, as the import of Prefect did.

    A second ``setup_logging`` by itself changes nothing but levels.
    """
    earlier = logging.getLogger("prefect.extra").handlers
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):  # PREFECT_LOGGING_EXTRA_LOGGERS named it
            logger.handlers[:] = [handler for handler in logger.handlers if handler not in earlier]
    configuration.PROCESS_LOGGING_CONFIG.clear()
    set_up_logging()


def exit_explanation(code: int) -> str:
    """What Prefect says of an exit code of a run's process, negative for a signal."""
    return get_infrastructure_exit_info(code).explanation


def cancelling_observer(
    flow_run_id: UUID,
    on_cancelling: OnCancellingCallback,
    polling_interval: float,
    event_filter: EventFilter,
) -> FlowRunCancellingObserver:
    """What tells a runner of Prefect's that a flow run is to be cancelled; a context manager."""
    observer = FlowRunCancellingObserver(
        on_cancelling=on_cancelling, polling_interval=polling_interval, event_filter=event_filter
    )
    observer.add_in_flight_flow_run_id(flow_run_id)
    return observer


@contextmanager
def threads_left(when: Callable[[], bool]) -> Iterator[None]:
    """Have thread pools of tasks not be waited for at their end, if ``when`` says so then.

    A cancelled flow would hear of it only when its last task has ended by itself.
    """
    cancel_all = ThreadPoolTaskRunner.cancel_all

    def leave(self: "ThreadPoolTaskRunner[Any]") -> None:
        executor = self._executor
        if executor is not None and when():
            self._executor = None
            executor.shutdown(wait=False, cancel_futures=True)
        cancel_all(self)

    ThreadPoolTaskRunner.cancel_all = leave  # type: ignore[method-assign]
    try:
        yield
    finally:
        ThreadPoolTaskRunner.cancel_all = cancel_all  # type: ignore[method-assign]


def begin_at(subscriber: PrefectEventSubscriber, since: datetime) -> None:
    """Have a subscriber's first connection bring what happened since then.

    There is no argument for it; it otherwise begins one minute ago.
    """
    subscriber._backfill_since = since  # type: ignore[assignment]


def outer_context(context: FlowRunContext) -> Any:
    """What stood where this context was entered, such as the context of the calling flow."""
    return context._token.old_value if context._token is not None else None


def task_context_in(context: Context) -> Any:
    """The TaskRunContext of code that runs in another context; None if it is in no task."""
    return context.get(TASK_CONTEXT)


def request_suspension(state: Any) -> None:
    """Have Prefect's engine end the calling run, which it was told is suspended.

    What the flow's code makes of the signal that it gets does not matter then: the engine raises it
    again at the next task, subflow, and at the end.
    """
    context = FlowRunContext.get()
    if context is not None:
        context.flow_run_suspension_request.mark_requested(state)


def entrypoint_of(flow: "Flow[..., Any] | None") -> str | None:
    """Where Prefect finds a flow again: ``file:name`` or ``module:name``."""
    return getattr(flow, "_entrypoint", None)


def name_entrypoint(flow: "Flow[..., Any]", entrypoint: str) -> None:
    """Say where Prefect finds a flow again, if its function is the wrapper of another one."""
    flow._entrypoint = entrypoint


def load_block(reference: Any) -> Any:
    """The block that ``{"$ref": reference}`` stands for among a flow's parameters."""
    return Block.load_from_ref(reference, _sync=True)  # type: ignore[call-arg]


def replace_validation(
    flow: "Flow[..., Any]", validate: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Have Prefect's engine validate a flow's parameters by another function, for this object."""
    flow.validate_parameters = validate  # type: ignore[method-assign, assignment]


def set_up_logging() -> None:
    """As Prefect's own ``setup_logging``, which takes a tenth of a second of a processor.

    It turns all of Prefect's settings into variables, and fills four of them into a file.
    """
    used = vars(configuration)
    theirs, ours = used["get_current_settings"], FewVariables(get_current_settings())
    used["get_current_settings"] = lambda: ours
    try:
        configuration.setup_logging()
    finally:
        used["get_current_settings"] = theirs


class FewVariables:
    """Settings that become variables as they are asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def to_environment_variables(self, include_aliases: bool) -> dict[str, str]:
        parts = (self._settings.logging, self._settings.internal)
        few: dict[str, str] = {"PREFECT_SERVER_LOGGING_LEVEL": self._settings.server.logging_level}
        for part in parts:
            few |= part.to_environment_variables(include_aliases=include_aliases)
        return _Variables(few, self._settings)


class _Variables(dict[str, str]):
    """A few settings as variables; the others once one of them is asked for."""

    def __init__(self, few: Mapping[str, str], settings: Settings) -> None:
        super().__init__(few)
        self._settings = settings

    def __missing__(self, name: str) -> str:
        self.update(self._settings.to_environment_variables(include_aliases=True))
        if name not in self:
            raise KeyError(name)
        return self[name]


def build_models() -> None:
    """Have all of Prefect's classes of data ready that are else made ready at their first use."""
    todo = [BaseModel]
    while todo:
        one = todo.pop()
        todo += one.__subclasses__()
        if one.__module__.startswith("prefect.") and not one.__pydantic_complete__:
            one.model_rebuild(raise_errors=False)
