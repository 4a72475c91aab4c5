"""The task runner that puts Prefect tasks on Ray."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Self
from uuid import uuid4

from prefect.client.schemas.objects import RunInput
from prefect.context import FlowRunContext, serialize_context
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect.utilities.engine import collect_task_run_inputs_sync

from kodosumi_prefect.adapter.by_value import pickle_by_value
from kodosumi_prefect.carried import carried as carry
from kodosumi_prefect.runner.ray_connection import NoRayError, connect_ray
from kodosumi_prefect.scope import entered_scope, known_scope
from kodosumi_prefect.settings import get_settings, read_address
from kodosumi_prefect.spans.recording import current_span
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.task_runner import first_use
from kodosumi_prefect.task_runner.future import RayFuture, cancel_tasks, remember
from kodosumi_prefect.task_runner.remote import remote
from kodosumi_prefect.task_runner.upstream import Upstreams
from kodosumi_prefect.task_runner.work import Carried

SUBMIT_FLUSH = 0.5  # seconds a submit waits for the flow's events before it


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

    def __enter__(self) -> Self:
        super().__enter__()
        first_use.begin(self._connect)
        return self

    def __exit__(self, *error: Any) -> None:
        first_use.end(self._connect)
        super().__exit__(*error)

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
        upstreams = Upstreams()
        parameters = upstreams.without(parameters)
        wait_for = upstreams.without(list(wait_for), values=False) if wait_for else None
        options = {
            "name": task.name,
            **self.options,
            **RemoteOptionsContext.get().current_remote_options,
        }
        value_ref, state_ref = remote(task, options).remote(
            *upstreams.refs,
            task=task,
            task_run_id=task_run_id,
            context=context,
            parameters=parameters,
            wait_for=wait_for,
            dependencies=dependencies,
            # An argument and not the environment: it holds secrets, which Ray would show.
            carried=Carried(
                carry(settings),
                get_client(settings).instance(),
                entered_scope(),
                scope,
                flow_run,
                current_span(scope.fid) if scope is not None else None,
            ),
        )
        future = RayFuture(task_run_id, state_ref, value_ref, upstreams.futures)
        remember(future, flow_run[0] if flow_run is not None else None)
        return future

    def cancel_all(self) -> None:
        """Cancel all of this process's tasks; Prefect calls it when it ends the process's flow.

        It does so on the flow's own task runner, while tasks were submitted by duplicates of it.
        """
        cancel_tasks()

    def _connect(self) -> bool:
        """Join the flow's cluster; False if none is configured."""
        settings = get_settings()
        known = (self.address, settings.ray_address, read_address(settings, "ray"))
        if not any(known) and not settings.ray_local:
            return False
        connect_ray(settings, self.address, self.init_kwargs)
        return True
