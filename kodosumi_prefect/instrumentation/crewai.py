"""CrewAI: what its event bus tells, as spans.

Its events name the one that each lies in and the one that each ends, so the tree is CrewAI's own.
The bus calls coroutine handlers in one thread, in the order of the events, and each in the context
of the code that it is about.
"""

import logging
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from crewai.events import crewai_event_bus
from crewai.events.base_events import BaseEvent
from crewai.events.event_context import (
    SCOPE_ENDING_EVENTS,
    SCOPE_STARTING_EVENTS,
    VALID_EVENT_PAIRS,
)
from crewai.types.usage_metrics import UsageMetrics

from kodosumi_prefect._compat.crewai import events_around, outside_innermost
from kodosumi_prefect.adapter.execution import endings
from kodosumi_prefect.instrumentation.calls import Calls
from kodosumi_prefect.spans.recording import OpenSpan, surroundings
from kodosumi_prefect.spans.span import SpanType, Usage

FLUSH_SECONDS = 5.0  # that the end of a run waits for what the bus has not told yet


class _Begun(NamedTuple):
    """An event that began something."""

    event_id: str
    type: str
    task_id: str | None


calls = Calls[_Begun]("crewai")
logger = logging.getLogger(__name__)

# By the events' types without ``_started``; what is not here is of type ``custom``.
_TYPES = {
    "crew_kickoff": SpanType.CHAIN,
    "flow": SpanType.CHAIN,
    "method_execution": SpanType.CHAIN,
    "task": SpanType.TASK,
    "agent_execution": SpanType.AGENT,
    "lite_agent_execution": SpanType.AGENT,
    "agent_reasoning": SpanType.CHAIN,
    "llm_call": SpanType.LLM,
    "llm_guardrail": SpanType.CHAIN,
    "tool_usage": SpanType.TOOL,
    "mcp_tool_execution": SpanType.TOOL,
    "memory_retrieval": SpanType.RETRIEVAL,
    "memory_query": SpanType.RETRIEVAL,
    "knowledge_query": SpanType.RETRIEVAL,
    "knowledge_search_query": SpanType.RETRIEVAL,
}
_NAMES = ("tool_name", "method_name", "flow_name", "crew_name", "model", "task_name", "agent_role")
_INPUTS = ("messages", "tool_args", "task_prompt", "query", "inputs", "value", "context")
_OUTPUTS = ("response", "output", "result", "results", "retrieved_knowledge", "memory_content")


def switch_on() -> None:
    """Listen to its bus."""
    for kind in _kinds(BaseEvent):
        field = kind.model_fields.get("type")
        word = field.default if field is not None else None
        if word in SCOPE_STARTING_EVENTS:
            crewai_event_bus.on(kind)(_began)
        elif word in SCOPE_ENDING_EVENTS:
            crewai_event_bus.on(kind)(_ended)
    surroundings.append(_surrounding)
    endings.append(flush)


def flush() -> None:
    """Wait until the bus has told all that happened so far."""
    if not crewai_event_bus.flush(FLUSH_SECONDS):
        logger.warning("CrewAI's bus did not tell all within %g s; spans lack", FLUSH_SECONDS)


async def _began(source: Any, event: BaseEvent) -> None:
    _record_begin(source, event)


async def _ended(source: Any, event: BaseEvent) -> None:
    _record_end(source, event)


@calls.harmless
def _record_begin(source: Any, event: Any) -> None:
    what = event.type.removesuffix("_started")
    model = getattr(event, "model", None)
    if event.event_id not in events_around():
        return  # of the agent's own machinery
    with outside_innermost():
        calls.begin(
            _Begun(event.event_id, event.type, event.task_id),
            _name_of(source, event),
            _TYPES.get(what, SpanType.CUSTOM),
            _first(event, _INPUTS),
            id_=_span_id(event.event_id),
            model=_bare(model),
            provider=_provider(source, model),
        )


@calls.harmless
def _record_end(source: Any, event: Any) -> None:
    usage = getattr(event, "usage", None)
    failure = getattr(event, "failure", None)
    error = getattr(event, "error", None) or (failure and getattr(failure, "reason", failure))
    if (begun := _begun(event)) is None:
        return
    calls.end(
        begun,
        output=_plain(_first(event, _OUTPUTS)),
        error=error if error is None or isinstance(error, BaseException) else str(error),
        usage=_usage(usage) if usage else None,
        response=getattr(event, "response_id", None),
    )


def _begun(event: Any) -> "_Begun | None":
    """What an event ends.

    Where CrewAI told an end twice, it names another event from then on, or none.
    """
    kind = VALID_EVENT_PAIRS.get(event.type)
    said, open_ = event.started_event_id, calls.open_keys()
    if said is not None and not any(begun.event_id == said for begun in open_):
        return None
    alike = [begun for begun in open_ if begun.type == kind]
    alike.sort(key=lambda begun: (begun.event_id == said, begun.task_id == event.task_id))
    return alike[-1] if alike else None


def _surrounding(fid: str) -> OpenSpan | None:
    """The span of the innermost event that the calling code is in, told of by now or not."""
    events = events_around()
    return _chain(fid, events) if events else None


@lru_cache(maxsize=1000)
def _chain(fid: str, events: tuple[str, ...]) -> OpenSpan:
    *outer, innermost = events
    if outer:
        above: OpenSpan | None = _chain(fid, tuple(outer))
    else:
        begun = next((begun for begun in calls.open_keys() if begun.event_id == innermost), None)
        root = calls.span_of(begun)
        above = root.above if root is not None else None
    return OpenSpan(fid, _span_id(innermost), above)


def _span_id(event_id: str) -> str:
    """What lies in an event may begin before the bus told of it, so that its span's id is known."""
    return event_id.replace("-", "")[:16]


def _kinds(kind: type[BaseEvent]) -> Iterator[type[BaseEvent]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)


def _name_of(source: Any, event: Any) -> str | None:
    agent = getattr(event, "agent", None)
    if event.type == "agent_execution_started" and agent is not None:
        return str(agent.role)
    if event.type == "lite_agent_execution_started":
        return str(event.agent_info.get("role") or "agent")
    if event.type == "task_started":
        task = getattr(event, "task", None) or source
        return str(getattr(task, "name", None) or getattr(task, "description", None) or "task")
    said = _first(event, _NAMES)
    return str(said) if said else str(event.type.removesuffix("_started").replace("_", " "))


def _first(event: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(event, name, None))), None)


def _plain(output: Any) -> Any:
    """The text of CrewAI's own outputs, which hold the prompts and all that came before, too."""
    return getattr(output, "raw", output)


def _usage(told: dict[str, Any]) -> Usage | None:
    metrics = UsageMetrics.from_provider_dict(told)
    if metrics is None or not (metrics.prompt_tokens or metrics.completion_tokens):
        return None
    return Usage(
        metrics.prompt_tokens,
        metrics.completion_tokens,
        metrics.cached_prompt_tokens,
        metrics.reasoning_tokens,
    )


def _bare(model: str | None) -> str | None:
    return model.rpartition("/")[2] if model else None


def _provider(source: Any, model: str | None) -> str | None:
    said = getattr(source, "provider", None) or (model or "").rpartition("/")[0]
    return said if model and isinstance(said, str) and said else None
