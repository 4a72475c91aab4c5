"""What spans of OpenTelemetry say, in each dialect, as their instrumentations really write it."""

import json
from typing import Any

import pytest

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.otel import Told, begin_of, end_of, told
from kodosumi_prefect.spans.otel.dialects import is_pending
from kodosumi_prefect.spans.span import SpanStatus, SpanType, Usage

SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Hello"}
# OpenLLMetry 0.62 of OpenAI, which is OpenTelemetry's GenAI conventions of 2026.
GENAI: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.is_streaming": False,
    "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
    "gen_ai.input.messages": '[{"role": "user", "parts": [{"content": "Hello", "type": "text"}]}]',
    "gen_ai.response.model": "gpt-5-mini-2025",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ("tool_call",),
    "gen_ai.usage.total_tokens": 17,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.usage.reasoning_tokens": 2,
    "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"content": "Hi", "type": "text"}],'
    ' "finish_reason": "stop"}]',
}
# OpenLLMetry 0.40 of OpenAI.
OPENLLMETRY: dict[str, Any] = {
    "llm.request.type": "chat",
    "gen_ai.system": "OpenAI",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "Be brief.",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": "Hello",
    "llm.request.functions.0.name": "get_weather",
    "gen_ai.response.model": "gpt-5-mini-2025",
    "gen_ai.response.id": "chatcmpl-1",
    "llm.usage.total_tokens": 17,
    "gen_ai.usage.completion_tokens": 5,
    "gen_ai.usage.prompt_tokens": 12,
    "gen_ai.usage.cache_read_input_tokens": 4,
    "gen_ai.completion.0.finish_reason": "tool_calls",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "Hi",
    "gen_ai.completion.0.tool_calls.0.id": "c1",
    "gen_ai.completion.0.tool_calls.0.name": "get_weather",
    "gen_ai.completion.0.tool_calls.0.arguments": '{"city":"Rome"}',
}
# OpenInference 0.1.66 of OpenAI.
OPENINFERENCE: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.provider": "openai",
    "llm.system": "openai",
    "input.value": '{"model": "gpt-5-mini", "messages": []}',
    "output.value": '{"id":"chatcmpl-1","choices":[]}',
    "output.mime_type": "application/json",
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Be brief.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.content": "Hello",
    "llm.model_name": "gpt-5-mini-2025",
    "llm.token_count.total": 17,
    "llm.token_count.prompt": 12,
    "llm.token_count.completion": 5,
    "llm.token_count.prompt_details.cache_read": 4,
    "llm.token_count.completion_details.reasoning": 2,
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.contents.0.message_content.type": "text",
    "llm.output_messages.0.message.contents.0.message_content.text": "Hi",
    "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_weather",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city":"Rome"}',
}


@pytest.mark.parametrize("attributes", [GENAI, OPENLLMETRY, OPENINFERENCE])
def test_a_call_of_a_model_says_the_same_in_each_dialect(attributes: dict[str, Any]) -> None:
    call = told("openai.chat", attributes)
    reasoning = None if attributes is OPENLLMETRY else 2
    assert call[:7] == (
        *("openai.chat", "llm", "gpt-5-mini-2025", "openai", "chatcmpl-1"),
        *(Usage(12, 5, 4, reasoning), None),
    )
    assert (call.status, call.error) == ("ok", None)


def test_messages_of_each_dialect() -> None:
    new, old, inference = (told("", said) for said in (GENAI, OPENLLMETRY, OPENINFERENCE))
    assert new.input == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Hello"}]},
    ]
    assert new.output[0]["parts"] == [{"type": "text", "content": "Hi"}]
    assert old.input == inference.input == [SYSTEM, HELLO]
    call = {"id": "c1", "name": "get_weather", "arguments": {"city": "Rome"}}
    assert old.output == [
        {
            "role": "assistant",
            "content": "Hi",
            "finish_reason": "tool_calls",
            "tool_calls": [call],
        }
    ]
    function = {"name": "get_weather", "arguments": {"city": "Rome"}}
    assert inference.output == [
        {
            "role": "assistant",
            "contents": [{"type": "text", "text": "Hi"}],
            "tool_calls": [{"id": "c1", "function": function}],
        }
    ]


def test_messages_that_are_events() -> None:
    # Conventions 1.28 to 1.36 as Azure writes them, and those before.
    events = [
        ("gen_ai.system.message", {"gen_ai.system": "az.ai", "content": "Be brief."}),
        ("gen_ai.user.message", {"gen_ai.event.content": '{"role":"user","content":"Hello"}'}),
        ("gen_ai.choice", {"gen_ai.event.content": '{"index":0,"message":{"content":"Hi"}}'}),
    ]
    call = told("chat", {"gen_ai.request.model": "m"}, events)
    assert call.input == [SYSTEM, HELLO]
    assert call.output == [{"role": "assistant", "index": 0, "content": "Hi"}]
    first = [
        ("gen_ai.content.prompt", {"gen_ai.prompt": '[{"role":"user","content":"Hello"}]'}),
        ("gen_ai.content.completion", {"gen_ai.completion": "Hi"}),
    ]
    assert told("chat", {"gen_ai.system": "openai"}, first)[7:9] == ([HELLO], "Hi")
    kept = json.dumps(
        [
            {"event.name": "gen_ai.user.message", "content": "Hello", "gen_ai.message.index": 0},
            {"event.name": "gen_ai.choice", "index": 0, "message": {"content": "Hi"}},
        ]
    )
    assert told("chat", {"gen_ai.operation.name": "chat", "events": kept})[7:9] == (
        [HELLO],
        [{"role": "assistant", "index": 0, "content": "Hi"}],
    )


@pytest.mark.parametrize(
    ("attributes", "name", "kind", "given", "gave"),
    [
        (
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "weather",
                "gen_ai.agent.name": "helper",
                "gen_ai.tool.call.arguments": '{"city":"Rome"}',
                "gen_ai.tool.call.result": "sun",
            },
            *("weather", "tool", {"city": "Rome"}, "sun"),
        ),
        (  # pydantic-ai, format 2
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "helper",
                "model_name": "m",
                "final_result": '{"weather":"sun"}',
                "pydantic_ai.all_messages": '[{"role":"user"}]',
            },
            *("helper", "agent", [{"role": "user"}], {"weather": "sun"}),
        ),
        (
            {
                "traceloop.span.kind": "workflow",
                "traceloop.entity.name": "joke",
                "traceloop.entity.input": '{"args": []}',
                "traceloop.entity.output": '"ha"',
            },
            *("span", "chain", {"args": []}, "ha"),
        ),
        (
            {
                "openinference.span.kind": "RETRIEVER",
                "input.value": "cats",
                "retrieval.documents.0.document.content": "a cat",
                "retrieval.documents.0.document.score": 0.5,
                "retrieval.documents.1.document.content": "two cats",
            },
            *(
                "span",
                "retrieval",
                "cats",
                [{"content": "a cat", "score": 0.5}, {"content": "two cats"}],
            ),
        ),
        (
            {
                "openinference.span.kind": "EMBEDDING",
                "embedding.embeddings.0.embedding.text": "x",
                "embedding.embeddings.0.embedding.vector": (0.1, 0.2),
                "output.value": '{"data": [{"embedding": [0.1]}]}',
            },
            *("span", "embedding", [{"text": "x"}], None),
        ),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "w"}, "w", "tool", None, None),
        ({"mcp.method.name": "tools/call"}, "span", "tool", None, None),
        ({"http.request.method": "GET"}, "span", "custom", None, None),
    ],
)
def test_other_spans(
    attributes: dict[str, Any], name: str, kind: str, given: Any, gave: Any
) -> None:
    span = told("span", attributes)
    assert (span.name, span.type, span.input, span.output) == (name, kind, given, gave)
    assert span.model is None


def test_failures() -> None:
    raised = ("exception", {"exception.type": "openai.BadKey", "exception.message": "no\nkey"})
    assert told("x", {}, [raised], failed=True)[9:] == ("error", "BadKey: no")
    text = "BadKey: no"
    assert told("x", {}, [raised], failed=True, description=text)[9:] == ("error", text)
    assert told("x", {"error.type": "timeout"})[9:] == ("error", "timeout")
    assert told("x", {"error.type": "timeout"}, failed=False)[9:] == ("ok", None)
    assert told("x", {}, failed=True)[9:] == ("error", "failed")
    left = ("exception", {"exception.type": "asyncio.exceptions.CancelledError"})
    assert told("x", {}, [left], failed=True)[9:] == ("cancelled", None)


def test_what_says_nothing_of_models_is_a_plain_span() -> None:
    attributes = {"http.method": "GET", "error.type": "Timeout"}
    assert told("GET /", attributes, failed=True) == Told(
        "GET /", SpanType.CUSTOM, status=SpanStatus.ERROR, error="Timeout"
    )
    assert told("GET /", attributes, [("exception", {"exception.message": "late"})]).error == (
        "Timeout: late"
    )


def test_numbers_that_are_none() -> None:
    def usage(**said: Any) -> Usage | None:
        return told("x", {f"gen_ai.usage.{name}": value for name, value in said.items()}).usage

    assert usage(input_tokens=-5, output_tokens=float("nan")) is None
    assert usage(input_tokens=0, output_tokens=0) is None
    assert usage(input_tokens="12", output_tokens=True, prompt_tokens=1) == Usage(12)
    assert usage(input_tokens=-1, prompt_tokens=7) == Usage(7)
    # Anthropic's API counts what was read from its cache apart.
    cached = {"cache_read.input_tokens": 100}
    assert usage(input_tokens=3, **cached) == Usage(103, cached=100)
    assert told("x", {"operation.cost": 0.5}).cost == 0.5
    assert told("x", {"gen_ai.usage.cost": -1, "llm.cost.total": "0.25"}).cost == 0.25
    langfuse = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.usage_details": '{"input": 3, "output": 4}',
        "langfuse.observation.cost_details": '{"total": 0.125}',
    }
    assert told("x", langfuse)[5:7] == (Usage(3, 4), 0.125)


def test_what_is_nonsense_is_kept_as_it_is() -> None:
    deep = "[" * 100_000
    said = {
        "gen_ai.operation.name": 7,
        "gen_ai.request.model": ["m"],
        "gen_ai.input.messages": deep,
        "gen_ai.completion.x.y": 1,
        "gen_ai.completion.99999999999.content": "far",
        "gen_ai.completion.0": "plain",
        "gen_ai.completion.0.role": "assistant",
    }
    span = told("x", said)
    assert span.input == deep
    assert (span.type, span.model) == ("llm", None)
    assert isinstance(span.output, list)


def test_the_end_says_what_the_begin_could_not(settings: Settings) -> None:
    def body(payload: str) -> dict[str, Any]:
        return dict(json.loads(payload)["Span"])

    begin, end = told("openai.chat", {}), told("openai.chat", OPENLLMETRY)
    first = body(begin_of(begin, "a1", "b2", settings))
    assert first == {
        "at": "begin",
        "id": "a1",
        "parent": "b2",
        "name": "openai.chat",
        "type": "custom",
    }
    last = body(end_of(end, "a1", settings, began=1.5, begin=begin))
    assert (last["type"], last["input"], last["began"]) == ("llm", [SYSTEM, HELLO], 1.5)
    assert "name" not in last
    again = body(end_of(end, "a1", settings, began=1.5, begin=end))
    assert "type" not in again and "input" not in again
    none = settings.model_copy(update={"span_contents": "none"})
    assert (
        body(end_of(end, "a1", none, began=1.5, begin=begin)).keys().isdisjoint({"input", "output"})
    )


def test_announcements_of_spans_are_none() -> None:
    assert is_pending({"logfire.span_type": "pending_span"})
    assert not is_pending({})
    assert isinstance(told("x", {}), Told)
