"""Our Ray task runner: prefect-ray's, without its surprises."""

import asyncio
import concurrent.futures
import weakref
from collections.abc import Iterable
from contextvars import Context, copy_context
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID, uuid4

from prefect.client.schemas.objects import RunInput, State
from prefect.context import FlowRunContext, serialize_context
from prefect.futures import PrefectFuture, PrefectWrappedFuture
from prefect.states import exception_to_crashed_state
from prefect.task_engine import run_task_async, run_task_sync
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import collect_task_run_inputs_sync

from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.at_work import at_work
from kodosumi_prefect.adapter.by_value import pickle_by_value
from kodosumi_prefect.carried import carried as carry
from kodosumi_prefect.runner.ray_connection import NoRayError, connect_ray
from kodosumi_prefect.scope import Scope, entered, entered_scope, known_scope, learn_scope
from kodosumi_prefect.settings import get_settings, read_settings, reset_settings
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.route import learn_instance

if TYPE_CHECKING:
    import ray

SLICE = 0.1  # seconds a thread waits before it can be interrupted
SUBMIT_FLUSH = 0.5  # seconds a submit waits for the flow's events before it
TASK_FLUSH = 10.0  # seconds a task waits at its end for its events to be stored


def default_task_runner(
    address: str | None = None, options: dict[str, Any] | None = None
) -> TaskRunner[Any]:
    """What ``@flow`` uses without a ``task_runner``: Ray if it is installed, else threads."""
    if find_spec("ray") is None or find_spec("prefect_ray") is None:
        if address or options:
            raise NoRayError("Ray options are given; install kodosumi-prefect[ray]")
        return ThreadPoolTaskRunner()
    return RayTaskRunner(address=address, options=options)


class RayTaskRunner(TaskRunner["RayFuture"]):
    """Runs Prefect tasks on Ray, connecting at the first submit.

    Example:
        ```python
        from kodosumi_prefect.task_runner import RayTaskRunner

        @prefect.flow(task_runner=RayTaskRunner())
        def count(numbers: list[int]) -> int:
            return sum(square.map(numbers).result())
        ```

    A process has one connection to one Ray; it lasts until the process ends. ``remote_options``
    of prefect-ray works as there.

    Arguments:
        address: ``ray://host:10001``, ``host:6379`` or ``auto``; the setting ``ray_address`` if
            not given, else the cluster that ``kodosumi-prefect up`` runs for the data dir.
        init_kwargs: more arguments for ``ray.init``.
        options: Ray's options for each task, such as ``{"num_cpus": 2}``.
    """

    def __init__(
        self,
        address: str | None = None,
        init_kwargs: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.address = address
        self.init_kwargs = dict(init_kwargs or {})
        self.options = dict(options or {})

    def __reduce__(self) -> tuple[Any, ...]:
        # What was submitted so far stays here; a flow travels with its task runner.
        return type(self), (self.address, self.init_kwargs, self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RayTaskRunner) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((type(self), self.address))

    def duplicate(self) -> "RayTaskRunner":
        """A new task runner with the same settings."""
        return type(self)(self.address, self.init_kwargs, self.options)

    def submit(
        self,
        task: "Task[..., Any]",
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> "RayFuture":
        """Run a task on Ray.

        Raises:
            NoRayError: no cluster is configured, or the configured one refuses.
        """
        if not self._started:
            raise RuntimeError("the task runner must be started before submitting work")
        from prefect_ray.context import RemoteOptionsContext

        settings = get_settings()
        connect_ray(settings, self.address, self.init_kwargs)
        scope = known_scope()
        if scope is not None:
            client = get_client(settings)
            if client.connected:
                client.flush(SUBMIT_FLUSH)  # the task's events come after those that led to it
        flow_context = FlowRunContext.get()
        pickle_by_value(task.fn)
        flow_run = None
        if flow_context is not None and flow_context.flow_run is not None:
            flow_run = (flow_context.flow_run.id, flow_context.flow_run.run_count)
        if flow_context is not None and flow_context.flow is not None:
            pickle_by_value(flow_context.flow.fn)
        task_run_id = uuid4()
        inputs = {
            name: collect_task_run_inputs_sync(value, future_cls=RayFuture)
            for name, value in parameters.items()
        }
        context = serialize_context(
            asset_ctx_kwargs={
                "task": task,
                "task_run_id": task_run_id,
                "task_inputs": inputs,
                "copy_to_child_ctx": True,
            }
        )
        parameters, upstream = _with_refs(parameters)
        wait_for = _with_refs(list(wait_for), upstream)[0] if wait_for else None
        options = {
            "name": task.name,
            **self.options,
            **RemoteOptionsContext.get().current_remote_options,
        }
        ref = (
            _remote()
            .options(**options)
            .remote(
                *upstream,
                task=task,
                task_run_id=task_run_id,
                context=context,
                parameters=parameters,
                wait_for=wait_for,
                dependencies=dependencies,
                # An argument and not the environment: it holds secrets, which Ray would show.
                carried=_Carried(
                    carry(settings),
                    get_client(settings).instance(),
                    entered_scope(),
                    scope,
                    flow_run,
                ),
            )
        )
        future = RayFuture(task_run_id, ref)
        _pending[future] = flow_run[0] if flow_run is not None else None
        return future

    def cancel_all(self) -> None:
        """Cancel all of this process's tasks; Prefect calls it when it ends the process's flow.

        It does so on the flow's own task runner, while tasks were submitted by duplicates of it.
        """
        cancel_tasks()


class RayFuture(PrefectWrappedFuture[Any, "ray.ObjectRef[Any]"]):
    """A Prefect task run on Ray. Waiting can be interrupted by signals and Prefect's timeouts."""

    def __init__(self, task_run_id: UUID, wrapped_future: "ray.ObjectRef[Any]") -> None:
        super().__init__(task_run_id, wrapped_future)
        self._future: concurrent.futures.Future[Any] = wrapped_future.future()

    @property
    def done(self) -> bool:
        """Whether the task run is over."""
        return self._final_state is not None or self._future.done()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task run is over, at most ``timeout`` seconds."""
        if self._final_state is not None or not self._arrived(timeout):
            return
        error = self._future.exception()
        if error is None:
            self._final_state = self._future.result()
        else:
            self._final_state = run_coro_as_sync(exception_to_crashed_state(error))

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """The task's result.

        Raises:
            TimeoutError: it is not there within ``timeout`` seconds.
            Exception: what the task raised, unless ``raise_on_failure`` is False.
        """
        self.wait(timeout)
        if self._final_state is None:
            raise TimeoutError(
                f"Task run {self.task_run_id} did not complete within {timeout} seconds"
            )
        return run_coro_as_sync(self._final_state.aresult(raise_on_failure=raise_on_failure))

    def add_done_callback(self, fn: Any) -> None:
        """Call ``fn`` with this future once the task run is over."""
        self._future.add_done_callback(lambda _: fn(self))

    def _arrived(self, timeout: float | None) -> bool:
        # Prefect interrupts other threads, and the main one if it has an alarm handler already (of
        # an outer timeout), with an exception that a blocking wait would not see.
        left = timeout
        while True:
            part = SLICE if left is None else min(SLICE, left)
            if concurrent.futures.wait([self._future], part).done:
                return True
            if left is not None:
                left -= part
                if left <= 0:
                    return False


# What was submitted by this process and is still referred to, with its flow run.
_pending: "weakref.WeakKeyDictionary[RayFuture, UUID | None]" = weakref.WeakKeyDictionary()


def cancel_tasks(flow_run_id: UUID | None = None) -> None:
    """Cancel tasks on Ray that are not done.

    Arguments:
        flow_run_id: only those of this flow run; None means all of this process.
    """
    unfinished = [
        future
        for future, flow_run in list(_pending.items())
        if not future.done and flow_run_id in (None, flow_run)
    ]
    if not unfinished:
        return
    import ray

    for future in unfinished:
        ray.cancel(future.wrapped_future, force=True)


def _with_refs(value: Any, upstream: list[Any] | None = None) -> tuple[Any, list[Any]]:
    """``value`` with Ray's references in place of our futures, and those references."""
    upstream = [] if upstream is None else upstream

    def exchange(item: Any) -> Any:
        if isinstance(item, RayFuture):
            upstream.append(item.wrapped_future)
            return item.wrapped_future
        return item

    return visit_collection(value, visit_fn=exchange, return_data=True), upstream


class _Carried(NamedTuple):
    """What a task in a Ray worker gets to know about the process that submitted it.

    Attributes:
        settings: as ``carried`` gives them.
        instance: the id of the database, if it is known.
        above: the scope that the surrounding code entered.
        scope: the scope of the code that submitted it.
        flow_run: its flow run and run count.
    """

    settings: dict[str, Any]
    instance: str | None
    above: Scope | None
    scope: Scope | None
    flow_run: tuple[UUID, int] | None


def _remote() -> Any:
    """The function that runs a task in a worker, as Ray knows it."""
    import ray

    run: Any = _run_task
    return ray.remote(run)


def _run_task(
    *_upstream: Any,
    task: "Task[..., Any]",
    task_run_id: UUID,
    context: dict[str, Any],
    parameters: dict[str, Any],
    wait_for: Any,
    dependencies: Any,
    carried: _Carried,
) -> State[Any]:
    """Run a Prefect task in a Ray worker. ``_upstream`` makes Ray wait for what it depends on."""
    import ray

    def resolve(item: Any) -> Any:
        return ray.get(item) if isinstance(item, ray.ObjectRef) else item

    values, instance, above, scope, flow_run = carried
    # A Ray worker serves one job, so these are the process's settings from now on.
    reset_settings(read_settings(values))
    learn_instance(instance)
    arguments: dict[str, Any] = {
        "task": task,
        "task_run_id": task_run_id,
        "parameters": visit_collection(parameters, visit_fn=resolve, return_data=True),
        "wait_for": visit_collection(wait_for, visit_fn=resolve, return_data=True),
        "dependencies": dependencies,
        "context": context,
        "return_type": "state",
    }

    def run(within: Context) -> State[Any]:
        if not task.isasync:
            work: Any = run_task_sync
            return cast("State[Any]", within.run(work, **arguments))
        with asyncio.Runner() as runner:
            running: Any = run_task_async(**arguments)
            return cast("State[Any]", runner.run(running, context=within))

    if scope is None or flow_run is None:
        return run(copy_context())
    learn_scope(*flow_run, scope._replace(task_run=None))
    capturing = get_settings().capture
    if capturing:
        capture.hold()
    try:
        with entered(above or scope):
            within = copy_context()
        with at_work(above or scope, within):
            return run(within)
    finally:
        if capturing:
            capture.release(scope.fid)
        get_client().flush(TASK_FLUSH)
