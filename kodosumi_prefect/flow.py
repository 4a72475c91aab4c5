"""``@flow``: a Kodosumi entrypoint as a Prefect flow whose runs are recorded."""

import asyncio
import functools
import inspect
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar, cast, overload

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.objects import State as PrefectState
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, Pause
from prefect.flows import Flow
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.utilities.asyncutils import run_coro_as_sync
from prefect.utilities.collections import visit_collection
from prefect.utilities.hashing import file_hash

from kodosumi_prefect import artifacts
from kodosumi_prefect._compat.prefect import name_entrypoint
from kodosumi_prefect._compat.prefect_cancellation import is_cancelled
from kodosumi_prefect.adapter import capture, hooks
from kodosumi_prefect.adapter.by_value import PACKAGE, was_loaded_from_file
from kodosumi_prefect.adapter.execution import (
    TERMINAL_FLUSH,
    Live,
    Meta,
    close,
    tell_error,
    tell_final,
    traceback_of,
)
from kodosumi_prefect.adapter.given_files import have_files
from kodosumi_prefect.adapter.roots import enter_flow_run
from kodosumi_prefect.events import Kind, describe
from kodosumi_prefect.scope import Scope, entered, travelled
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spans.contents import without_quotes
from kodosumi_prefect.suspension import reuse
from kodosumi_prefect.suspension.code import heed_changed_code
from kodosumi_prefect.suspension.ending import be_running
from kodosumi_prefect.task_runner import cancel_tasks, default_task_runner
from kodosumi_prefect.tracer import Tracer, TracerMock
from kodosumi_prefect.vocabulary import FLOW_ATTRIBUTE

R = TypeVar("R")
ARTIFACTS_WAIT = 2.0  # seconds that a run's end waits at most for its artifacts in Prefect
SETTLE = 0.3  # seconds native Ray calls get to deliver their events before they return
TIMEOUT_MARGIN = 1.0  # seconds of a flow's own timeout that waiting for the recorder leaves over

_HOOKS = ("on_running", "on_completion", "on_failure", "on_crashed", "on_cancellation")


@overload
def flow(entrypoint: Callable[..., R], /) -> Flow[..., R]: ...


@overload
def flow(
    *,
    summary: str | None = ...,
    description: str | None = ...,
    tags: Sequence[str] = ...,
    author: str | None = ...,
    organization: str | None = ...,
    version: str | None = ...,
    deprecated: bool = ...,
    task_runner: "type[TaskRunner[Any]] | TaskRunner[Any] | None" = ...,
    ray_address: str | None = ...,
    ray_options: dict[str, Any] | None = ...,
    **prefect_options: Any,
) -> Callable[[Callable[..., R]], Flow[..., R]]: ...


def flow(
    entrypoint: Callable[..., R] | None = None,
    /,
    *,
    summary: str | None = None,
    description: str | None = None,
    tags: Sequence[str] = (),
    author: str | None = None,
    organization: str | None = None,
    version: str | None = None,
    deprecated: bool = False,
    task_runner: "type[TaskRunner[Any]] | TaskRunner[Any] | None" = None,
    ray_address: str | None = None,
    ray_options: dict[str, Any] | None = None,
    **prefect_options: Any,
) -> Flow[..., R] | Callable[[Callable[..., R]], Flow[..., R]]:
    """Make an entrypoint a Prefect flow whose runs are recorded in the event stream.

    Example:
        ```python
        from kodosumi_prefect import Tracer, flow

        @flow(summary="Say hello", tags=["demo"])
        def hello(inputs: dict, tracer: Tracer) -> str:
            tracer.debug("greeting", inputs["name"])
            return f"Hello {inputs['name']}"

        hello({"name": "Ada"})
        ```

    The entrypoint may be sync or async, a function or a generator. A parameter named ``tracer``
    gets the run's tracer and is not one of the flow's parameters; the others are, as for any
    Prefect flow.

    Arguments:
        summary: one line that people see in lists; the flow's name if not given.
        description: longer text; the docstring if not given.
        tags: words to find executions by.
        author, organization: who is responsible.
        version: given to Prefect too; a hash of the entrypoint's file if not given.
        deprecated: people should use another flow.
        task_runner: Prefect's; our ``RayTaskRunner`` if not given and Ray is installed.
        ray_address: Ray cluster that this flow's tasks run on, instead of the setting.
        ray_options: Ray's options for each task, such as ``{"num_cpus": 2}``.
        prefect_options: everything else that ``prefect.flow`` takes: ``name, retries,
            retry_delay_seconds, timeout_seconds, log_prints, persist_result, on_failure`` …

    Raises:
        TypeError: an option that neither we nor Prefect know.
        ValueError: Ray options together with a task runner of one's own.
    """
    if entrypoint is None:
        return functools.partial(
            flow,
            summary=summary,
            description=description,
            tags=tags,
            author=author,
            organization=organization,
            version=version,
            deprecated=deprecated,
            task_runner=task_runner,
            ray_address=ray_address,
            ray_options=ray_options,
            **prefect_options,
        )
    if task_runner is not None and (ray_address or ray_options):
        raise ValueError(
            "ray_address and ray_options belong to the task runner; give them to "
            f"{task_runner!r} instead"
        )
    function: Callable[..., Any] = entrypoint
    kind: Callable[[Any], Any] | None = None
    if isinstance(entrypoint, classmethod | staticmethod):
        kind, function = type(entrypoint), entrypoint.__func__
    meta = Meta(summary, description, tuple(tags), author, organization, version, deprecated)
    wrapped: Any = wrap(function, meta)
    for name in _HOOKS:
        prefect_options[name] = [*(prefect_options.get(name) or ()), hooks.record_state]
    wrapped_flow: Flow[..., R] = Flow(
        kind(wrapped) if kind else wrapped,
        version=version or _hash_of(function),
        description=description,
        task_runner=task_runner or default_task_runner(ray_address, ray_options),
        **prefect_options,
    )
    name_entrypoint(wrapped_flow, _entrypoint_of(function))
    return wrapped_flow


def wrap(function: Callable[..., Any], meta: Meta) -> Callable[..., Any]:
    """``function`` recording its runs, with a signature that lacks ``tracer``.

    Behaviour is here and not in a class of flows, so it survives ``Flow.with_options``.
    """
    signature = inspect.signature(function, eval_str=True)
    takes_tracer = "tracer" in signature.parameters
    visible = signature.replace(
        parameters=[p for p in signature.parameters.values() if p.name != "tracer"]
    )

    def arguments(tracer: Tracer, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not takes_tracer:
            return args, kwargs
        own_tracer = kwargs.pop("tracer", None) or tracer
        if "tracer" not in visible.parameters and len(args) > len(visible.parameters):
            return args, kwargs  # called by hand with the tracer among the positional arguments
        bound = visible.bind(*args, **kwargs)
        whole = signature.bind_partial(tracer=own_tracer)
        for name in signature.parameters:
            if name in bound.arguments:
                whole.arguments[name] = bound.arguments[name]
        # BoundArguments reads them in the order of the signature only if they stand in it.
        ordered = [name for name in signature.parameters if name in whole.arguments]
        whole.arguments = {name: whole.arguments[name] for name in ordered}
        return whole.args, whole.kwargs

    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            run = _Run.begin()
            args, kwargs = arguments(run.tracer, args, kwargs)
            try:
                run.heed_code(function)
                async for item in function(*args, **kwargs):
                    yield item
            except BaseException as exc:
                run.failed(exc)
                raise
            finally:
                run.left()
            await run.finished_async(None)

    elif inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            run = _Run.begin()
            args, kwargs = arguments(run.tracer, args, kwargs)
            with run.entered():
                try:
                    run.heed_code(function)
                    result = await function(*args, **kwargs)
                except BaseException as exc:
                    run.failed(exc)
                    raise
                await run.finished_async(result)
                return result

    elif inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            run = _Run.begin()
            args, kwargs = arguments(run.tracer, args, kwargs)
            try:
                run.heed_code(function)
                result = yield from function(*args, **kwargs)
            except BaseException as exc:
                run.failed(exc)
                raise
            finally:
                run.left()
            run.finished(result)
            return result

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            run = _Run.begin()
            args, kwargs = arguments(run.tracer, args, kwargs)
            with run.entered():
                try:
                    run.heed_code(function)
                    result = function(*args, **kwargs)
                except BaseException as exc:
                    run.failed(exc)
                    raise
                run.finished(result)
                return result

    wrapper.__signature__ = visible  # type: ignore[attr-defined]
    setattr(wrapper, FLOW_ATTRIBUTE, meta)
    annotations = dict(getattr(function, "__annotations__", {}))
    annotations.pop("tracer", None)
    wrapper.__annotations__ = annotations
    return wrapper


class _Run:
    """One attempt of a flow, as the wrapper around its function sees it."""

    def __init__(self, scope: Scope | None, live: Live | None, timeout: float | None) -> None:
        self.scope = scope
        self.live = live
        self.tracer: Tracer = Tracer(scope) if scope is not None else TracerMock()
        self._keeping: reuse.Kept | None = None
        self._deadline = None if timeout is None else time.monotonic() + timeout

    @classmethod
    def begin(cls) -> "_Run":
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return cls(None, None, None)  # called by hand, without Prefect
        scope, live = enter_flow_run(context)
        if live is not None and context.flow is not None:
            have_files(context.flow, context.flow_run, live)
        run = cls(scope, live, context.flow.timeout_seconds if context.flow else None)
        if live is not None:
            run._keeping = reuse.begin(context.flow, context.flow_run, live.scope.fid)
        return run

    @contextmanager
    def entered(self) -> Iterator[None]:
        try:
            with entered(self.scope) if self.scope is not None else nullcontext():
                yield
        except Pause:
            reuse.settle(self._keeping)
            if self.live is not None:
                close(self.live)
            raise
        finally:
            self.left()

    def heed_code(self, function: Callable[..., Any]) -> None:
        """Before a later leg runs: its code may be another one by now.

        What we run for others sees to that once it has loaded their code.
        """
        if self.live is not None and function.__module__.partition(".")[0] != PACKAGE:
            heed_changed_code()

    def left(self) -> None:
        """The function has ended."""
        reuse.end(self._keeping)

    def finished(self, result: Any) -> None:
        """Record the result before the end is reported to Prefect."""
        if self.live is not None:
            if self.live.scope.fid in travelled:
                travelled.discard(self.live.scope.fid)
                time.sleep(SETTLE)
            final = resolved(result)
            tell_final(self.live, final)
            scope = self.live.scope
            artifacts.of_result(scope.fid, scope.flow_name, final, get_settings())
            self.live.client.flush(self._patience())
            artifacts.settle(min(self._patience(), ARTIFACTS_WAIT))

    async def finished_async(self, result: Any) -> None:
        if self.live is not None:
            await asyncio.to_thread(self.finished, result)

    def failed(self, exc: BaseException) -> None:
        """Record why the attempt failed: ``error`` if it was the last one, else ``debug``."""
        if self.scope is None or isinstance(exc, GeneratorExit):
            return
        if self.live is None:
            if isinstance(exc, Exception):
                self.tracer.debug(without_quotes(traceback_of(exc), exc, get_settings()))
            return
        capture.finish(self.scope.fid)
        if isinstance(exc, Pause | Abort):
            close(self.live)
        elif isinstance(exc, Exception):
            settings = self.live.client.settings
            if is_cancelled():
                self.live.put(Kind.DEBUG, without_quotes(traceback_of(exc), exc, settings))
            elif will_retry(self.live.flow_run, self.scope.attempt):
                be_running(self.live.flow_run.id)
                self.live.put(Kind.DEBUG, without_quotes(traceback_of(exc), exc, settings))
            else:
                tell_error(self.live, exc)
            self.live.client.flush(self._patience())
        else:
            # A signal or a timeout: Prefect reports what it meant, there is little time.
            cancel_tasks(self.live.flow_run.id)
            self.live.client.flush(min(self._patience(), TERMINAL_FLUSH))

    def _patience(self) -> float:
        """Seconds that waiting for the recorder may take without making the flow time out."""
        assert self.live is not None
        timeout = self.live.client.settings.flush_timeout
        if self._deadline is None:
            return timeout
        return max(min(timeout, self._deadline - time.monotonic() - TIMEOUT_MARGIN), 0.0)


def will_retry(flow_run: FlowRun, attempt: int) -> bool:
    """Whether Prefect runs a flow again in place after this attempt failed."""
    return attempt <= (flow_run.empirical_policy.retries or 0)


def resolved(result: Any) -> Any:
    """A flow's result as people see it: futures and states in it replaced by their values."""

    def value(item: Any) -> Any:
        if isinstance(item, PrefectFuture):
            item.wait()
            item = item.state
        if isinstance(item, PrefectState):
            if not item.is_completed():
                return describe(item)
            return run_coro_as_sync(item.aresult(raise_on_failure=False))
        return item

    try:
        return visit_collection(result, visit_fn=value, return_data=True, max_depth=10)
    except Exception:  # objects that cannot be rebuilt, results gone from storage
        return result


def _hash_of(function: Callable[..., Any]) -> str | None:
    """Prefect's default version: a hash of the file the function is in."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(function))
        return file_hash(path) if path else None
    except (TypeError, OSError):
        return None


def _entrypoint_of(function: Callable[..., Any]) -> str:
    """Where Prefect finds the flow again: ``file:name`` for scripts, else ``module:name``."""
    module = function.__module__
    loaded = sys.modules.get(module)
    if module == "__main__" or (loaded is not None and was_loaded_from_file(loaded)):
        module = inspect.getfile(inspect.unwrap(function))
    return f"{module}:{cast(str, getattr(function, '__qualname__', function.__name__))}"
