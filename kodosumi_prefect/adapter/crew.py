"""CrewAI crews as entrypoints: run with their inputs, their steps and tasks recorded.

CrewAI is never imported here: what comes in is known by its ``kickoff``, so that services without
crews need not have it installed.
"""

import asyncio
import contextvars
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import Any, cast

from pydantic import BaseModel

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import describe, envelope
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spans.contents import LEFT_OUT_BY_SETTING, bounded
from kodosumi_prefect.tracer import Tracer

# CrewAI sends telemetry and asks about it at the terminal unless switched off, and takes
# the process's signals over for it, which Prefect needs to cancel runs. Whoever wants its tracing
# sets these variables.
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
}

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


def quieten() -> None:
    """Turn CrewAI's telemetry and questions off in this process, unless the environment sets it."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


# Now, since CrewAI takes the signals over when it is imported, which services do after us.
quieten()


def is_crew(target: Any) -> bool:
    """Whether ``run_crew`` runs this: it has a kickoff, or is marked as a CrewAI crew base."""
    return bool(getattr(target, "is_crew_class", False)) or _start_of(target) is not None


def _start_of(crew: Any) -> Callable[..., Any] | None:
    """The method that starts a crew; Kodosumi needs the async one, CrewAI's have both."""
    for name in ("kickoff", "kickoff_async"):
        if callable(start := getattr(crew, name, None)):
            return cast("Callable[..., Any]", start)
    return None


def run_crew(crew: Any, inputs: Mapping[str, Any] | None, tracer: Tracer) -> Any:
    """Kick a crew off and wait for what it returns.

    Records an ``agent`` event for each agent and each task at the start, an ``action`` event for
    each step and a ``result`` event for each finished task. Callbacks of the crew's own are called
    as ever; the crew is left as it came.

    Arguments:
        crew: an object with ``kickoff`` or ``kickoff_async`` (a CrewAI crew, agent or flow), a
            class of such objects, or a class or object marked as crew base, whose method ``crew``
            makes the crew.
        inputs: values for the placeholders in the crew's texts; dates and pydantic models among
            them are given as the texts and dicts that CrewAI takes.
        tracer: of the run.

    Returns:
        What ``kickoff`` returned: CrewAI's ``CrewOutput``. Of a crew that streams, its end.

    Raises:
        KodosumiError: ``crew`` cannot be kicked off.
    """
    quieten()
    instance = _instance_of(crew)
    values = {str(name): _plain(value) for name, value in (inputs or {}).items()}
    _introduce(instance, values, tracer)
    with _recording(instance, tracer):
        output = _kickoff(instance, values)
        if inspect.isawaitable(output):
            output = _finished(output)
        return _drained(output)


async def run_crew_async(crew: Any, inputs: Mapping[str, Any] | None, tracer: Tracer) -> Any:
    """As ``run_crew``, in a thread that has the caller's context, so that the loop stays free."""
    return await asyncio.to_thread(run_crew, crew, inputs, tracer)


def _instance_of(crew: Any) -> Any:
    """The object to kick off."""
    instance = crew() if isinstance(crew, type) and is_crew(crew) else crew
    if _start_of(instance) is None and getattr(instance, "is_crew_class", False):
        make = getattr(instance, "crew", None)
        if not callable(make):
            raise KodosumiError(
                f"{type(instance).__name__} is a crew base without a method `crew`; "
                "name the method that is marked @crew so"
            )
        instance = make()
    if _start_of(instance) is None:
        raise KodosumiError(f"{describe(crew)} has no kickoff; give a crew or a crew base")
    return instance


def _kickoff(crew: Any, inputs: dict[str, Any]) -> Any:
    # Crews and flows take ``inputs``; others with a kickoff, such as a lone agent, may not.
    start = _start_of(crew)
    assert start is not None
    try:
        takes = inspect.signature(start).parameters
    except (TypeError, ValueError):
        return start(inputs=inputs)
    keywords = any(taken.kind is taken.VAR_KEYWORD for taken in takes.values())
    if "inputs" in takes or keywords:
        return start(inputs=inputs)
    if "messages" in takes:
        return start("\n".join(f"{name}: {value}" for name, value in inputs.items()))
    return start()


def _finished(output: Awaitable[Any]) -> Any:
    """What an async kickoff returns, in a loop of its own: the caller's thread may run one."""

    async def awaited() -> Any:
        return await output

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, "kickoff") as thread:
        return thread.submit(lambda: context.run(asyncio.run, awaited())).result()


def _drained(output: Any) -> Any:
    """The result of a crew that streams, once its stream is over; else the output itself."""
    kind = type(output)
    streams = hasattr(kind, "__iter__") and isinstance(getattr(kind, "result", None), property)
    if not streams:
        return output
    for _ in output:
        pass
    return output.result


def _plain(value: Any) -> Any:
    """A form's value as CrewAI takes it: text, number, boolean, dict or list."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return describe(value)


def _introduce(crew: Any, inputs: dict[str, Any], tracer: Tracer) -> None:
    """One ``agent`` event for each agent and each task, with the inputs filled in.

    Their envelopes are Kodosumi's: ``{"dict": {"agent": {…}}}`` and ``{"dict": {"task": {…}}}``.
    """

    def filled(of: Any, *names: str) -> dict[str, str | None]:
        return {name: fill(_template(of, name)) for name in names}

    settings = get_settings()

    def fill(text: str | None) -> str | None:
        if text is None:
            return None
        filled = _PLACEHOLDER.sub(lambda match: str(inputs.get(match[1], match[0])), text)
        return cast("str | None", bounded(filled, settings))

    for agent in _agents(crew):
        description = {**filled(agent, "role", "goal", "backstory"), "tools": _tools(agent)}
        tracer.agent({"agent": description})
    for task in getattr(crew, "tasks", None) or ():
        description = {
            **filled(task, "name", "description", "expected_output"),
            "agent": fill(_template(getattr(task, "agent", None), "role")),
            "tools": _tools(task),
        }
        tracer.agent({"task": description})


def _template(of: Any, name: str) -> str | None:
    """A text as its author wrote it: CrewAI fills it in place and keeps the original aside."""
    text = getattr(of, f"_original_{name}", None) or getattr(of, name, None)
    return text if isinstance(text, str) else None


def _agents(crew: Any) -> list[Any]:
    """A crew's agents, those that only its tasks name and its manager included, each once."""
    tasks = getattr(crew, "tasks", None) or ()
    agents = [
        *(getattr(crew, "agents", None) or ()),
        *(getattr(task, "agent", None) for task in tasks),
        getattr(crew, "manager_agent", None),
    ]
    return list({id(agent): agent for agent in agents if agent is not None}.values())


def _tools(of: Any) -> list[dict[str, str]]:
    return [
        {
            "name": str(getattr(tool, "name", type(tool).__name__)),
            "description": str(getattr(tool, "description", "")),
        }
        for tool in getattr(of, "tools", None) or ()
    ]


@contextmanager
def _recording(crew: Any, tracer: Tracer) -> Generator[None, None, None]:
    """Callbacks that record steps and tasks, before those of the crew's own, inside the block."""
    agents, tasks = _agents(crew), getattr(crew, "tasks", None) or ()
    # CrewAI copies the crew's callbacks to agents and tasks that have none. Those would be called
    # twice by the next run, so all are put back.
    own = [
        (holder, name, getattr(holder, name))
        for holders, name in (
            ((crew,), "task_callback"),
            ((crew,), "step_callback"),
            (agents, "step_callback"),
            (tasks, "callback"),
        )
        for holder in holders
        if hasattr(holder, name)
    ]
    try:
        for holder, name, callback in own:
            if name == "task_callback":
                setattr(holder, name, _recorded(callback, tracer.result))
            elif name == "step_callback" and (holder is crew or callback is not None):
                setattr(holder, name, _recorded(callback, _recorder_of_steps(tracer)))
        _hand_down(crew, agents)
        yield
    finally:
        for holder, name, callback in own:
            setattr(holder, name, callback)
        _hand_down(crew, agents)


def _recorder_of_steps(tracer: Tracer) -> Callable[[Any], Any]:
    """Records what a crew's agents say and do, as much of it as may be kept."""

    def record(step: Any) -> None:
        settings = get_settings()
        if settings.span_contents == "full":
            tracer.action(step)
            return
        [(name, said)] = envelope(step).items()
        left = bounded(said, settings)
        tracer.action({name: LEFT_OUT_BY_SETTING if left is None else left})

    return record


def _recorded(own: Callable[[Any], Any] | None, record: Callable[[Any], Any]) -> Any:
    """A callback that records, then calls the author's own."""

    def recorded(output: Any) -> Any:
        record(output)
        return own(output) if own is not None else None

    return recorded


def _hand_down(crew: Any, agents: list[Any]) -> None:
    """Give the executors of agents that ran before the callbacks of now; they keep the first."""
    for agent in agents:
        executor: Any = getattr(agent, "agent_executor", None)
        if executor is not None and hasattr(executor, "step_callback"):
            own = getattr(agent, "step_callback", None)
            executor.step_callback = own or getattr(crew, "step_callback", None)
