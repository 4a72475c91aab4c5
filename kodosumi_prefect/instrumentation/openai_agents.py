"""OpenAI's Agents SDK: what its tracing tells, as spans.

The processor is one among others: what the SDK exports elsewhere goes there as before.
"""

from typing import Any

from agents.tracing import TracingProcessor, add_trace_processor, get_trace_provider
from agents.tracing.spans import Span as AgentsSpan
from agents.tracing.traces import Trace

from kodosumi_prefect.instrumentation.calls import Calls
from kodosumi_prefect.spans.span import SpanType, Usage

calls = Calls[str]("openai-agents")

COUNTS = ("input_tokens", "prompt_tokens", "output_tokens", "completion_tokens")
# By the type of what a span of theirs is about; what is not here is of type ``custom``.
_TYPES = {
    "agent": SpanType.AGENT,
    "turn": SpanType.CHAIN,
    "function": SpanType.TOOL,
    "generation": SpanType.LLM,
    "response": SpanType.LLM,
    "transcription": SpanType.LLM,
    "speech": SpanType.LLM,
}


def switch_on() -> None:
    """Add the processor, and again where the author's replace all that there are."""
    provider: Any = get_trace_provider()
    processor = SpanProcessor()
    add_trace_processor(processor)
    replace = provider.set_processors

    def set_processors(processors: list[TracingProcessor]) -> None:
        replace([*processors, processor])

    provider.set_processors = set_processors


class SpanProcessor(TracingProcessor):
    """Records a span for each trace and each span of theirs, in the context of the code."""

    @calls.harmless
    def on_trace_start(self, trace: Trace) -> None:
        """A workflow begins."""
        span = calls.begin(trace.trace_id, trace.name, SpanType.CHAIN)
        if span is not None:
            span.step_in()

    @calls.harmless
    def on_trace_end(self, trace: Trace) -> None:
        """It ended."""
        span = calls.end(trace.trace_id)
        if span is not None:
            span.step_out()

    @calls.harmless
    def on_span_start(self, span: AgentsSpan[Any]) -> None:
        """A part of it begins."""
        data, above = span.span_data, span.parent_id or span.trace_id
        if data.type == "task":  # the whole run of an agent, as the trace and the agent are
            calls.pass_over(span.span_id, above)
            return
        begun = calls.begin(
            span.span_id,
            _name(data),
            _TYPES.get(data.type, SpanType.CUSTOM),
            getattr(data, "input", None),
            above=above,
            model=getattr(data, "model", None),
            provider="openai" if data.type == "response" else None,
        )
        if begun is not None:
            begun.step_in()

    @calls.harmless
    def on_span_end(self, span: AgentsSpan[Any]) -> None:
        """It ended: by now it is known what went in, too."""
        data, error = span.span_data, span.error
        response = getattr(data, "response", None)
        # Turns and tasks sum up what the calls in them took.
        usage = getattr(data, "usage", None) if data.type in ("generation", "response") else None
        if response is not None and getattr(response, "usage", None) is not None:
            usage = response.usage.model_dump()
        ended = calls.end(
            span.span_id,
            input=getattr(data, "input", None),
            output=_output(data, response),
            error=None if error is None else _reason(error["message"], error.get("data")),
            model=getattr(response, "model", None) or getattr(data, "model", None),
            usage=_usage(usage),
            response=getattr(response, "id", None),
        )
        if ended is not None:
            ended.step_out()

    def shutdown(self, timeout: float | None = None) -> None:
        """Nothing is kept back."""

    def force_flush(self) -> None:
        """Nothing is kept back."""


def _name(data: Any) -> str:
    if data.type == "turn":
        return f"turn {data.turn}"
    if data.type == "mcp_tools":
        return f"tools of {data.server}"
    return str(getattr(data, "name", None) or getattr(data, "model", None) or data.type)


def _output(data: Any, response: Any) -> Any:
    if response is not None:
        return [item.model_dump(exclude_none=True) for item in response.output]
    for name in ("output", "result", "data"):
        if (value := getattr(data, name, None)) is not None:
            return value
    if data.type == "handoff":
        return {"to": data.to_agent}
    return {"triggered": data.triggered} if data.type == "guardrail" else None


def _reason(message: str, data: dict[str, Any] | None) -> str:
    return f"{message}: {data['error']}" if data and data.get("error") else message


def _usage(told: dict[str, Any] | None) -> Usage | None:
    if not told or not any(told.get(name) for name in COUNTS):
        return None  # of a stream whose usage was not asked for it says zeros
    given = told.get("input_tokens_details") or told.get("prompt_tokens_details") or {}
    made = told.get("output_tokens_details") or told.get("completion_tokens_details") or {}
    return Usage(
        told.get("input_tokens", told.get("prompt_tokens")),
        told.get("output_tokens", told.get("completion_tokens")),
        given.get("cached_tokens"),
        made.get("reasoning_tokens"),
        given.get("cache_write_tokens"),
    )
