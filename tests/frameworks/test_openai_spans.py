"""Calls of OpenAI's own SDK as spans, by the instrumentation that is installed."""

import asyncio
from pathlib import Path

import openai
import pytest
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.tracer import tracer
from tests.frameworks.budgets import hold_calls, refuse_calls
from tests.frameworks.trees import a_run
from tests.frameworks.wire_reply import Asked, Reply
from tests.frameworks.wire_server import Wire

ASKED = [{"role": "user", "content": "1 + 2?"}]
TWO_CALLS = Reply("So:", (Asked("add", {"a": 1, "b": 2}), Asked("add", {"a": 3, "b": 4})))


def client(wire: Wire) -> openai.OpenAI:
    return openai.OpenAI(base_url=wire.openai, api_key="k")


def test_chat_completions_with_parallel_tools_after_a_refusal(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply(status=429), TWO_CALLS)
    with a_run(tmp_path) as spans, tracer.span("mine"):
        client(wire).chat.completions.create(model="gpt-5-mini", messages=ASKED)
    assert spans.tree() == [
        "custom mine",
        "  llm ChatCompletion [gpt-5-mini-2026-01-01] 20/5/4/1",
    ]
    called = spans.named("ChatCompletion")
    assert (called["provider"], called["response"]) == ("openai", "chatcmpl-2")
    assert "1 + 2?" in str(called["input"])
    assert "add" in str(called["output"])


@pytest.mark.parametrize("usage", [True, False])
async def test_streams_with_and_without_usage(usage: bool, wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("It is 3."))
    with a_run(tmp_path) as spans:
        async with openai.AsyncOpenAI(base_url=wire.openai, api_key="k") as asking:
            stream = await asking.chat.completions.create(
                model="gpt-5-mini",
                messages=ASKED,
                stream=True,
                stream_options={"include_usage": usage},
            )
            async for _ in stream:
                pass
    tokens = " 20/5/4/1" if usage else ""
    assert spans.tree() == [f"llm ChatCompletion [gpt-5-mini-2026-01-01]{tokens}"]


def test_responses_whole_and_streamed(wire: Wire, tmp_path: Path) -> None:
    wire.will(TWO_CALLS, Reply("It is 3."))
    with a_run(tmp_path) as spans:
        client(wire).responses.create(model="gpt-5-mini", input="1 + 2?")
        list(client(wire).responses.create(model="gpt-5-mini", input="1 + 2?", stream=True))
    assert spans.tree() == ["llm Response [gpt-5-mini-2026-01-01] 20/5/4/1"] * 2
    assert [end["response"] for end in spans.ended.values()] == ["resp_1", "resp_2"]


def test_a_cut_stream_and_a_refusal_are_errors(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("It is 3.", cut_after=2), Reply(status=400))
    asked = {"model": "gpt-5-mini", "messages": ASKED}
    with a_run(tmp_path) as spans:
        with pytest.raises(Exception, match=r"[Cc]onnection|peer"):
            list(client(wire).chat.completions.create(**asked, stream=True))
        with pytest.raises(openai.BadRequestError):
            client(wire).chat.completions.create(**asked)
    cut, refused = spans.tree()
    assert cut.startswith("llm ChatCompletion [gpt-5-mini-2026-01-01] error (")
    assert refused.startswith("llm ChatCompletion error (BadRequestError: Error code: 400 - ")


@pytest.mark.parametrize("off", [[], ["openai"]])
async def test_a_spent_budget_refuses_requests_before_they_are_sent(
    off: list[str], wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_calls(monkeypatch)
    with a_run(tmp_path, span_sources_off=off):
        async with openai.AsyncOpenAI(base_url=wire.openai, api_key="k") as asking:
            with pytest.raises(BudgetExceededError, match="all of it"):
                await asking.chat.completions.create(model="gpt-5-mini", messages=ASKED)
        with pytest.raises(BudgetExceededError, match="all of it"):
            client(wire).responses.create(model="gpt-5-mini", input="1 + 2?")
    assert wire.asked == []


async def test_a_call_waits_while_somebody_is_asked(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = hold_calls(monkeypatch)
    wire.will(Reply("It is 3."))
    with a_run(tmp_path):
        async with openai.AsyncOpenAI(base_url=wire.openai, api_key="k") as asking:
            call = asking.chat.completions.create(model="gpt-5-mini", messages=ASKED)
            waiting = asyncio.ensure_future(call)
            await asyncio.wait_for(answered.asked.wait(), 10)
            assert wire.asked == []
            answered.go_on()
            assert (await waiting).choices[0].message.content == "It is 3."


def test_who_instruments_it_gets_its_spans_alone(wire: Wire, tmp_path: Path) -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    wire.will(Reply("It is 3."), Reply("It is 3."))
    asked = {"model": "gpt-5-mini", "messages": ASKED}
    with a_run(tmp_path) as spans:
        client(wire).chat.completions.create(**asked)
        assert exported.get_finished_spans() == ()
        OpenAIInstrumentor().instrument(tracer_provider=provider)
        client(wire).chat.completions.create(**asked)
    assert [span.name for span in exported.get_finished_spans()] == ["ChatCompletion"]
    assert spans.tree() == ["llm ChatCompletion [gpt-5-mini-2026-01-01] 20/5/4/1"] * 2
