"""The Prefect flow that executes an entrypoint."""

import asyncio
import contextvars
import dataclasses
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from prefect.context import FlowRunContext
from prefect.flows import Flow
from pydantic import BaseModel

from kodosumi_prefect.adapter.by_value import imported_from
from kodosumi_prefect.adapter.crew import is_crew, run_crew
from kodosumi_prefect.adapter.launched import LaunchParameter
from kodosumi_prefect.adapter.literal import opened, validated_data
from kodosumi_prefect.flow import flow
from kodosumi_prefect.launch.inputs import unpack_inputs
from kodosumi_prefect.launch.target import TargetError, load
from kodosumi_prefect.suspension.code import heed_changed_code
from kodosumi_prefect.tracer import Tracer

FLOW = "entrypoint"
ENTRYPOINT = "kodosumi_prefect.serve.entrypoint.run_entrypoint"  # as deployments name it


# Prefect would look for blocks in what people typed, so nothing but this module checks the inputs.
@flow(
    name=FLOW,
    description="Executes what stands behind an endpoint of an agentic service.",
    validate_parameters=False,
)
def run_entrypoint(
    entry_point: str,
    inputs: dict[str, Any],
    tracer: Tracer,
    launch: dict[str, Any] | None = None,
) -> Any:
    """Execute an entrypoint with its inputs.

    Arguments:
        entry_point: what to run, as ``module:callable``.
        inputs: what its form holds.
        launch: the endpoint's options for the run; made by ``Launch``, not by hand.
    """
    options = LaunchParameter.model_validate({"flow": FLOW} | (launch or {}))
    context = FlowRunContext.get()
    fid = str(context.flow_run.id) if context and context.flow_run else None
    target = _load(entry_point, options.path)  # classes among the inputs are looked for beside it
    heed_changed_code()
    return run_target(target, unpack_inputs(opened(inputs), options, fid), tracer)


def run_target(target: Any, inputs: Any, tracer: Tracer) -> Any:
    """Call an entrypoint, whatever it is, and return its result.

    A generator's items become ``result`` events, what it returns is the result.
    """
    if is_crew(target):
        return _resolved(run_crew(target, _by_name(inputs), tracer), tracer)
    if isinstance(target, Flow):
        with _within(target):
            return _resolved(_call_flow(target, inputs, tracer), tracer)
    return _resolved(_call(target, inputs, tracer), tracer)


def _by_name(inputs: Any) -> Mapping[str, Any]:
    """The parts of inputs, for what takes them by their names."""
    if isinstance(inputs, Mapping):
        return inputs
    if isinstance(inputs, BaseModel):
        return dict(inputs)
    if dataclasses.is_dataclass(inputs) and not isinstance(inputs, type):
        return {one.name: getattr(inputs, one.name) for one in dataclasses.fields(inputs)}
    return {}


def _call(function: Callable[..., Any], inputs: Any, tracer: Tracer) -> Any:
    """Call with ``inputs`` and ``tracer``, in whatever order, or with the inputs by their names."""
    parameters = _parameters(function)
    arguments: dict[str, Any] = {}
    rest = [name for name in parameters if name != "tracer"]
    if "tracer" in parameters:
        arguments["tracer"] = tracer
    if "inputs" in parameters:
        arguments["inputs"] = inputs
    else:
        by_name = _by_name(inputs)
        arguments |= {name: by_name[name] for name in rest if name in by_name}
    return function(**arguments)


def _call_flow(target: "Flow[..., Any]", inputs: Any, tracer: Tracer) -> Any:
    """Call a flow's function, not the flow: this run is the flow's own, and keeps its secrets.

    As a subflow its parameters would be stored by Prefect as they are.
    """
    function = inspect.unwrap(target.fn)
    parameters = _parameters(function)
    arguments: dict[str, Any] = {"inputs": inputs}
    if "inputs" not in parameters:
        by_name = _by_name(inputs)
        arguments = {name: value for name, value in by_name.items() if name in parameters}
    if target.should_validate_parameters:
        arguments = validated_data(target, arguments)
    if "tracer" in parameters:
        arguments["tracer"] = tracer
    return function(**arguments)


@contextmanager
def _within(target: "Flow[..., Any]") -> Iterator[None]:
    """The task runner of the flow in place of ours."""
    context = FlowRunContext.get()
    if context is None:
        yield
        return
    with ExitStack() as stack:
        runner = stack.enter_context(target.task_runner.duplicate())
        stack.enter_context(context.model_copy(update={"task_runner": runner}))
        yield


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters
    return {name: one for name, one in parameters.items() if one.kind not in kinds}


def _resolved(result: Any, tracer: Tracer) -> Any:
    """The result of a call: awaited if it is awaitable, exhausted if it is a generator."""
    if inspect.isgenerator(result):
        return _run_through(result, tracer)
    if inspect.isasyncgen(result):
        return _run_coroutine(_run_through_async(result, tracer))
    if inspect.isawaitable(result):
        return _run_coroutine(_awaited(result))
    return result


def _run_through(items: Generator[Any, Any, Any], tracer: Tracer) -> Any:
    while True:
        try:
            item = next(items)
        except StopIteration as done:
            return done.value
        tracer.result(item)


async def _run_through_async(items: AsyncIterator[Any], tracer: Tracer) -> None:
    async for item in items:
        tracer.result(item)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _run_coroutine(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end in this thread; an exception comes without asyncio's frames."""

    async def outcome() -> tuple[Any, Exception | None]:
        try:
            return await work, None
        except Exception as exc:
            return None, exc

    value, error = _in_a_thread(outcome) if _is_in_a_loop() else asyncio.run(outcome())
    if error is not None:
        raise error
    return value


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_a_thread(outcome: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """For a flow that was called inside of an event loop, which cannot run another."""
    results: list[Any] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: results.append(context.run(asyncio.run, outcome())))
    thread.start()
    thread.join()
    return results[0]


def _load(entry_point: str, folders: list[str]) -> Any:
    """The entrypoint; folders of the launching process help where they exist here."""
    known = set(sys.modules)
    try:
        return load(entry_point)
    except TargetError:
        new = [folder for folder in folders if folder not in sys.path]
        if not new:
            raise
        # A folder of the same name elsewhere, such as "tests", was imported as its package.
        top = entry_point.partition(":")[0].partition(".")[0]
        for name in sys.modules.keys() - known:
            if name.partition(".")[0] == top:
                del sys.modules[name]
        sys.path.extend(new)
        target = load(entry_point)
        imported_from(new)
        return target
