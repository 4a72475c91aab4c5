"""The one table of the attributes in which OpenTelemetry's spans speak of models, tools and agents.

Its dialects: OpenTelemetry's GenAI conventions, which are in development and have renamed most of
their attributes (https://opentelemetry.io/docs/specs/semconv/gen-ai/), OpenInference
(https://arize-ai.github.io/openinference/spec/), OpenLLMetry (Traceloop), pydantic-ai's and
Logfire's, Langfuse's and the Vercel AI SDK's. Of what a span says twice, the name further to the
left counts.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kodosumi_prefect.spans.otel.contents import (
    COUNTED_UP,
    NAMES_OF_CONTENTS,
    input_of,
    json_of,
    output_of,
    with_details,
)
from kodosumi_prefect.spans.span import SpanStatus, SpanType, Usage, amount_of, count_of

Attributes = Mapping[str, Any]
Events = Iterable[tuple[str, Attributes]]  # of a span: their names and attributes

TYPES: dict[str, dict[str, SpanType]] = {
    "openinference.span.kind": {
        "agent": SpanType.AGENT,
        "llm": SpanType.LLM,
        "tool": SpanType.TOOL,
        "retriever": SpanType.RETRIEVAL,
        "reranker": SpanType.RETRIEVAL,
        "embedding": SpanType.EMBEDDING,
        "chain": SpanType.CHAIN,
        "guardrail": SpanType.CHAIN,
        "evaluator": SpanType.CHAIN,
        "prompt": SpanType.CHAIN,
    },
    "gen_ai.operation.name": {
        "chat": SpanType.LLM,
        "completion": SpanType.LLM,
        "text_completion": SpanType.LLM,
        "generate_content": SpanType.LLM,
        "responses": SpanType.LLM,
        "embeddings": SpanType.EMBEDDING,
        "retrieval": SpanType.RETRIEVAL,
        "rerank": SpanType.RETRIEVAL,
        "execute_tool": SpanType.TOOL,
        "execute_task": SpanType.TASK,
        "invoke_agent": SpanType.AGENT,
        "create_agent": SpanType.AGENT,
        "invoke_workflow": SpanType.CHAIN,
    },
    "traceloop.span.kind": {
        "workflow": SpanType.CHAIN,
        "task": SpanType.TASK,
        "agent": SpanType.AGENT,
        "tool": SpanType.TOOL,
    },
    "llm.request.type": {
        "chat": SpanType.LLM,
        "completion": SpanType.LLM,
        "embedding": SpanType.EMBEDDING,
        "rerank": SpanType.RETRIEVAL,
    },
    "langfuse.observation.type": {
        "generation": SpanType.LLM,
        "agent": SpanType.AGENT,
        "tool": SpanType.TOOL,
        "chain": SpanType.CHAIN,
        "retriever": SpanType.RETRIEVAL,
        "embedding": SpanType.EMBEDDING,
    },
    "mcp.method.name": {"tools/call": SpanType.TOOL},
    "ai.operationId": {
        "ai.generatetext": SpanType.AGENT,
        "ai.streamtext": SpanType.AGENT,
        "ai.generatetext.dogenerate": SpanType.LLM,
        "ai.streamtext.dostream": SpanType.LLM,
        "ai.generateobject.dogenerate": SpanType.LLM,
        "ai.streamobject.dostream": SpanType.LLM,
        "ai.embed.doembed": SpanType.EMBEDDING,
        "ai.embedmany.doembed": SpanType.EMBEDDING,
        "ai.toolcall": SpanType.TOOL,
    },
}
# What a span is that says no such word.
TYPED_BY = {
    "gen_ai.tool.name": SpanType.TOOL,
    "gen_ai.request.model": SpanType.LLM,
    "gen_ai.response.model": SpanType.LLM,
    "llm.model_name": SpanType.LLM,
}

MODEL = (
    *("gen_ai.response.model", "llm.response.model_name", "llm.model_name", "ai.response.model"),
    *("gen_ai.request.model", "llm.request.model_name", "embedding.model_name"),
    *("reranker.model_name", "ai.model.id", "langfuse.observation.model.name"),
)
PROVIDER = (
    *("gen_ai.provider.name", "llm.provider", "gen_ai.system", "llm.system", "ai.model.provider"),
)
RESPONSE = ("gen_ai.response.id", "ai.response.id")
ANSWER = "output.value"  # the provider's, as OpenInference keeps it: its id is in there alone
USAGE = {  # by the fields of Usage
    "input": (
        *("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
        *("llm.usage.prompt_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens"),
        "ai.usage.tokens",
    ),
    "output": (
        *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        *("llm.token_count.completion", "llm.usage.completion_tokens"),
        *("ai.usage.outputTokens", "ai.usage.completionTokens"),
    ),
    "cached": (
        *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
        *("gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cached_tokens"),
        *("llm.token_count.prompt_details.cache_read", "ai.usage.cachedInputTokens"),
    ),
    "reasoning": (
        *("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
        *("gen_ai.usage.details.reasoning_tokens", "llm.usage.reasoning_tokens"),
        *("llm.token_count.completion_details.reasoning", "ai.usage.reasoningTokens"),
    ),
    "written": (
        *("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens"),
        *("gen_ai.usage.details.cache_write_tokens", "llm.token_count.prompt_details.cache_write"),
    ),
}
COST = ("gen_ai.usage.cost", "llm.cost.total", "operation.cost")
# Objects of JSON with tokens and dollars.
LANGFUSE_USAGE, LANGFUSE_COST = (
    "langfuse.observation.usage_details",
    "langfuse.observation.cost_details",
)
NAMES = {
    SpanType.TOOL: (
        *("gen_ai.tool.name", "tool.name", "traceloop.entity.name", "ai.toolCall.name"),
    ),
    SpanType.AGENT: ("gen_ai.agent.name", "agent.name", "agent_name", "traceloop.entity.name"),
}
ERROR = ("error.message", "exception.message")
ERROR_TYPE = ("error.type", "exception.type")
EXCEPTION = "exception"  # an event
CANCELLED = "CancelledError"
# Tracers of what is recorded by other means: Prefect's runs are tasks, CrewAI has its own events.
LEFT_OUT = {"prefect", "crewai.telemetry"}
# What instrumentations say of a span that has not ended: a copy of it, which is none.
PENDING = ("logfire.span_type", "pending_span")


# All names that mean something here, of contents too; most spans of other libraries have none.
_SPOKEN = frozenset(
    {
        *(*TYPES, *TYPED_BY, *MODEL, *PROVIDER, *RESPONSE, *COST, LANGFUSE_USAGE, LANGFUSE_COST),
        *(name for names in (*USAGE.values(), *NAMES.values()) for name in names),
        *NAMES_OF_CONTENTS,
    }
)


class Told(NamedTuple):
    """What a span of OpenTelemetry says, in our words; None where it does not say.

    Attributes:
        cost: US dollars.
        input, output: as they were said, nothing cut or left out.
    """

    name: str
    type: SpanType
    model: str | None = None
    provider: str | None = None
    response: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    input: Any = None
    output: Any = None
    status: SpanStatus = SpanStatus.OK
    error: str | None = None


def told(
    name: str,
    attributes: Attributes,
    events: Events = (),
    *,
    failed: bool | None = None,
    description: str | None = None,
) -> Told:
    """What a span says, at its begin or at its end.

    Arguments:
        failed: by its status; None if that is not set.
        description: of its status.
    """
    events = list(events)
    # A dict of one's own: the SDK's attributes take a lock for each that is looked for.
    attributes = dict(with_details(attributes, events))
    if not events and not _speaks(attributes):
        status, error = _status(attributes, events, failed, description)
        return Told(name, SpanType.CUSTOM, status=status, error=error)
    kind = _type(attributes)
    output = None if kind is SpanType.EMBEDDING else output_of(attributes, events)
    status, error = _status(attributes, events, failed, description)
    response = _text(attributes, RESPONSE)
    if response is None and kind is SpanType.LLM:
        answer = json_of(attributes.get(ANSWER))
        response = _text(answer, ("id",)) if isinstance(answer, dict) else None
    provider = _text(attributes, PROVIDER)
    return Told(
        _text(attributes, NAMES.get(kind, ())) or name,
        kind,
        _text(attributes, MODEL),
        provider.lower() if provider is not None else None,
        response,
        _usage(attributes),
        _cost(attributes),
        input_of(attributes, events),
        output,
        status,
        error,
    )


def leave_out(tracer: str) -> None:
    """Have spans of a tracer be left out in this process, where they are recorded by other means.

    Arguments:
        tracer: its name.
    """
    LEFT_OUT.add(tracer)


def is_left_out(tracer: str) -> bool:
    """Whether spans of a tracer are recorded by other means.

    Arguments:
        tracer: its name.
    """
    return any(tracer == left or tracer.startswith(f"{left}.") for left in LEFT_OUT)


def is_pending(attributes: Attributes) -> bool:
    """Whether a span is but the announcement of another one."""
    name, value = PENDING
    return attributes.get(name) == value


def _speaks(attributes: Attributes) -> bool:
    """Whether attributes say anything that is read here, errors aside."""
    return any(name in _SPOKEN or name.startswith(COUNTED_UP) for name in attributes)


def _type(attributes: Attributes) -> SpanType:
    for name, words in TYPES.items():
        word = attributes.get(name)
        if isinstance(word, str) and (kind := words.get(word.lower())) is not None:
            return kind
    for name, kind in TYPED_BY.items():
        if name in attributes:
            return kind
    return SpanType.CUSTOM


def _text(attributes: Attributes, names: Iterable[str]) -> str | None:
    for name in names:
        if isinstance(value := attributes.get(name), str) and value:
            return value
    return None


def _number(value: Any) -> Any:
    """A number that is sent as a text as such."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value


def _usage(attributes: Attributes) -> Usage | None:
    """Tokens; None if none are said, zeros included: a call that failed says those.

    ``input`` includes ``cached`` and ``written`` for us. Where it cannot have, since there are more
    of these, the instrumentation left them out, as Anthropic's API does.
    """
    tokens = {field: _count(attributes, names) for field, names in USAGE.items()}
    details = json_of(attributes.get(LANGFUSE_USAGE))
    if isinstance(details, dict):
        names = {"input": "input", "output": "output", "cached": "input_cached_tokens"}
        for field, name in names.items():
            if tokens[field] is None:
                tokens[field] = count_of(_number(details.get(name)))
    given, by_cache = tokens["input"], (tokens["cached"] or 0) + (tokens["written"] or 0)
    if given is not None and by_cache > given:
        tokens["input"] = given + by_cache
    return Usage(**tokens) if any(tokens.values()) else None


def _count(attributes: Attributes, names: Iterable[str]) -> int | None:
    for name in names:
        if (value := attributes.get(name)) is not None:
            count = count_of(_number(value))
            if count is not None:
                return count
    return None


def _cost(attributes: Attributes) -> float | None:
    details = json_of(attributes.get(LANGFUSE_COST))
    more = details.get("total") if isinstance(details, dict) else None
    for value in (*(attributes.get(name) for name in COST), more):
        if (amount := amount_of(_number(value))) is not None:
            return amount
    return None


def _status(
    attributes: Attributes,
    events: Iterable[tuple[str, Attributes]],
    failed: bool | None,
    description: str | None,
) -> tuple[SpanStatus, str | None]:
    if failed is None:
        failed = "error.type" in attributes
    if not failed:
        return SpanStatus.OK, None
    raised = [more for name, more in events if name == EXCEPTION]
    last: Attributes = {**(raised[-1] if raised else {}), **attributes}
    kind = _text(last, ERROR_TYPE)
    if kind is not None and kind.endswith(CANCELLED):
        return SpanStatus.CANCELLED, None
    kind = kind.rpartition(".")[2] if kind is not None else None
    message = (description or _text(last, ERROR) or "").strip().partition("\n")[0]
    if kind is not None and kind not in message:
        message = f"{kind}: {message}" if message else kind
    return SpanStatus.ERROR, message or "failed"
