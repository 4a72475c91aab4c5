"""Where Prefect's engines call tasks and subflows. What is said of it was read in Prefect 3.8.8.

Nothing of Prefect is changed until ``install`` is called, which a flow that may be suspended does.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Protocol
from uuid import UUID

from prefect._internal.engine import dynamic_key_for_task_run
from prefect._internal.result_records import ResultRecord
from prefect.context import FlowRunContext
from prefect.futures import PrefectDistributedFuture
from prefect.results import get_result_store
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect.transactions import TransactionState

from kodosumi_prefect._compat import prefect_unfinished

KEPT = "kodosumi_kept"  # of an engine: what an earlier leg kept of its task run


class Hooks(prefect_unfinished.Hooks, Protocol):
    """What takes part in calls of tasks and subflows."""

    def numbered(self, task: "Task[..., Any]", parameters: dict[str, Any]) -> "Task[..., Any]":
        """The task that is to be called in place of ``task``."""

    def submitting(self, task: "Task[..., Any]", pool: "ThreadPoolTaskRunner[Any] | None") -> None:
        """A numbered task is about to be handed to a task runner; None if that has no threads."""

    def submitted(self, task: "Task[..., Any]", future: Any) -> None:
        """It was handed over; None if the task runner refused it."""

    def begins(self, task: "Task[..., Any]", task_run_id: UUID) -> tuple[str, Any] | None:
        """What an earlier leg kept of a call: its outcome and the value; None if it is to run."""

    def inside(self, task: "Task[..., Any]", again: bool) -> AbstractContextManager[None]:
        """Around the code of a task; ``again`` if Prefect retries it."""

    def ended(self, task: "Task[..., Any]", state: Any) -> None:
        """A task run that was not kept is in a final state."""

    def subflow(
        self, flow: Any, call: Callable[[], Any], *, parameters: dict[str, Any], as_state: bool
    ) -> Any:
        """In place of ``call``, which runs a flow."""

    def deferred(self, task: "Task[..., Any]", call: Callable[[], Any]) -> Any:
        """In place of ``call``, which hands a task to Prefect's task workers."""


class _Inside(threading.local):
    """What the calling thread is in."""

    submit = False


_inside = _Inside()
_hooks: Hooks | None = None


def install(hooks: Hooks) -> None:
    """Have ``hooks`` take part in all calls of this process from now on."""
    global _hooks
    if _hooks is not None:
        return
    # The import of engines sets up Prefect's logging, which services do not want.
    from prefect.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine

    _hooks = hooks
    _wrap_calls(hooks)
    hook_runner(ThreadPoolTaskRunner)
    prefect_unfinished.wrap_transactions()
    for engine in (SyncTaskRunEngine, AsyncTaskRunEngine):
        _wrap_engine(engine, hooks)
        prefect_unfinished.wrap_engine(engine, hooks)


def hook_runner(runner: type[Any]) -> None:
    """Have a class of task runners submit numbered tasks."""
    hooks, original = _hooks, runner.submit
    if hooks is None or getattr(original, "numbers", False):
        return

    @wraps(original)
    def submit(
        self: "TaskRunner[Any]",
        task: "Task[..., Any]",
        parameters: dict[str, Any],
        *args: Any,
        **options: Any,
    ) -> Any:
        if _inside.submit:  # a class calls that of its base
            return original(self, task, parameters, *args, **options)
        numbered = hooks.numbered(task, parameters)
        if numbered is task:
            return original(self, task, parameters, *args, **options)
        _inside.submit, future = True, None
        hooks.submitting(numbered, self if isinstance(self, ThreadPoolTaskRunner) else None)
        try:
            future = original(self, numbered, parameters, *args, **options)
        finally:
            _inside.submit = False
            hooks.submitted(numbered, future)
        return future

    submit.numbers = True  # type: ignore[attr-defined]
    runner.submit = submit


def _wrap_calls(hooks: Hooks) -> None:
    from prefect import flow_engine, task_engine

    run_task: Any = task_engine.run_task
    run_flow: Any = flow_engine.run_flow
    apply_async: Any = Task.apply_async

    @wraps(run_task)
    def run_numbered(task: Any, *args: Any, **kwargs: Any) -> Any:
        return run_task(hooks.numbered(task, kwargs.get("parameters") or {}), *args, **kwargs)

    @wraps(run_flow)
    def run_subflow(flow: Any, *args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            return run_flow(flow, *args, **kwargs)

        if args or kwargs.get("flow_run") is not None:
            return call()
        return hooks.subflow(
            flow,
            call,
            parameters=kwargs.get("parameters") or {},
            as_state=kwargs.get("return_type") == "state",
        )

    @wraps(apply_async)
    def defer(self: "Task[..., Any]", *args: Any, **kwargs: Any) -> Any:
        return hooks.deferred(self, lambda: apply_async(self, *args, **kwargs))

    task_engine.run_task = run_numbered
    flow_engine.run_flow = run_subflow
    Task.apply_async = defer  # type: ignore[method-assign]


def _wrap_engine(engine: Any, hooks: Hooks) -> None:
    waits = inspect.iscoroutinefunction(engine.call_task_fn)
    begin_run, call_hooks = engine.begin_run, engine.call_hooks
    call_task_fn, set_state = engine.call_task_fn, engine.set_state

    def replay(self: Any, transaction: Any) -> Any:
        outcome, value = getattr(self, KEPT)
        # Neither stored again, nor its hooks called, nor rolled back; its state is ``Cached``.
        transaction.state = TransactionState.COMMITTED
        self.retries = self.task.retries
        if outcome == "error":
            raise value
        return value

    def sync_begin_run(self: Any) -> None:
        setattr(self, KEPT, hooks.begins(self.task, self.task_run.id))
        begin_run(self)

    async def async_begin_run(self: Any) -> None:
        kept = await asyncio.to_thread(hooks.begins, self.task, self.task_run.id)
        setattr(self, KEPT, kept)
        await begin_run(self)

    def sync_call_hooks(self: Any, state: Any = None) -> None:
        if getattr(self, KEPT, None) is None:
            call_hooks(self, state)

    async def async_call_hooks(self: Any, state: Any = None) -> None:
        if getattr(self, KEPT, None) is None:
            await call_hooks(self, state)

    def sync_call(self: Any, transaction: Any) -> Any:
        if getattr(self, KEPT, None) is None:
            with hooks.inside(self.task, self.retries > 0):
                return call_task_fn(self, transaction)
        value = replay(self, transaction)
        self.handle_success(value, transaction=transaction)
        return value

    async def async_call(self: Any, transaction: Any) -> Any:
        if getattr(self, KEPT, None) is None:
            with hooks.inside(self.task, self.retries > 0):
                return await call_task_fn(self, transaction)
        value = replay(self, transaction)
        await self.handle_success(value, transaction=transaction)
        return value

    def sync_set_state(self: Any, state: Any, force: bool = False) -> Any:
        new = set_state(self, state, force)
        if new.is_final() and getattr(self, KEPT, None) is None:
            hooks.ended(self.task, new)
        return new

    async def async_set_state(self: Any, state: Any, force: bool = False) -> Any:
        new = await set_state(self, state, force)
        if new.is_final() and getattr(self, KEPT, None) is None:
            hooks.ended(self.task, new)
        return new

    engine.begin_run = async_begin_run if waits else sync_begin_run
    engine.call_hooks = async_call_hooks if waits else sync_call_hooks
    engine.call_task_fn = async_call if waits else sync_call
    engine.set_state = async_set_state if waits else sync_set_state


def content_of(state: Any) -> Any:
    """What a final state of a task run holds in memory: a result, or an exception."""
    return state.data.result if isinstance(state.data, ResultRecord) else state.data


def completed_state(value: Any) -> Any:
    """The state of a subflow whose result is known."""
    record: Any = get_result_store().create_result_record(value)
    return Completed(name="Cached", data=record)


def failed_state(error: BaseException) -> Any:
    """The state of a subflow that is known to have raised."""
    return Failed(data=error, message=str(error))


def pass_over(flow: Any) -> None:
    """Count a subflow that is not run, as Prefect counts them to know the same one again."""
    context = FlowRunContext.get()
    if context is not None:
        tracking: Task[..., Any] = Task(name=flow.name, fn=flow.fn, version=flow.version)
        dynamic_key_for_task_run(context, tracking)


def distributed_future(task_run_id: str) -> Any:
    """The future of a task that was handed to Prefect's task workers."""
    return PrefectDistributedFuture(task_run_id=UUID(task_run_id))


def is_generator(called: Any) -> bool:
    """Whether a task or a flow yields its results."""
    function = inspect.unwrap(called.fn)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
