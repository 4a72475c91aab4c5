"""Calls of Anthropic's own SDK as spans, by the instrumentation that is installed."""

from pathlib import Path
from typing import Any

import anthropic
import pytest

from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.tracer import tracer
from tests.frameworks.budgets import refuse_calls
from tests.frameworks.trees import a_run
from tests.frameworks.wire_reply import Asked, Reply
from tests.frameworks.wire_server import Wire

ASKED: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "1 + 2?"}],
}
TWO_CALLS = Reply("So:", (Asked("add", {"a": 1, "b": 2}), Asked("add", {"a": 3, "b": 4})))


def client(wire: Wire) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=wire.url, api_key="k")


def test_messages_with_parallel_tools_after_a_refusal(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply(status=429), TWO_CALLS)
    with a_run(tmp_path) as spans, tracer.span("mine"):
        client(wire).messages.create(**ASKED)
    assert spans.tree() == ["custom mine", "  llm messages.create [claude-x-20260101] 20/5/4/?"]
    called = spans.named("messages.create")
    assert (called["provider"], called["response"]) == ("anthropic", "msg_2")
    assert "1 + 2?" in str(called["input"])
    assert "add" in str(called["output"])


async def test_a_spent_budget_refuses_requests_before_they_are_sent(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_calls(monkeypatch)
    with a_run(tmp_path):
        async with anthropic.AsyncAnthropic(base_url=wire.url, api_key="k") as asking:
            with pytest.raises(BudgetExceededError, match="all of it"):
                await asking.messages.create(**ASKED)
        with pytest.raises(BudgetExceededError, match="all of it"):
            client(wire).messages.create(**ASKED)
    assert wire.asked == []


async def test_streams(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("It is 3."), Reply("It is 3."))
    with a_run(tmp_path) as spans:
        async with anthropic.AsyncAnthropic(base_url=wire.url, api_key="k") as asking:
            async for _ in await asking.messages.create(**ASKED, stream=True):
                pass
            async with asking.messages.stream(**ASKED) as stream:
                assert await stream.get_final_text() == "It is 3."
    assert spans.tree() == [
        "llm messages.create [claude-x-20260101] 20/5/4/?",
        "llm messages.stream [claude-x-20260101] 20/5/4/?",
    ]
    assert [end["response"] for end in spans.ended.values()] == ["msg_1", "msg_2"]


def test_a_cut_stream_and_a_refusal_are_errors(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("It is 3.", cut_after=3), Reply(status=400))
    with a_run(tmp_path) as spans:
        with pytest.raises(Exception, match=r"[Cc]onnection|peer"):
            list(client(wire).messages.create(**ASKED, stream=True))
        with pytest.raises(anthropic.BadRequestError):
            client(wire).messages.create(**ASKED)
    cut, refused = spans.tree()
    assert cut.startswith("llm messages.create [claude-x-20260101] 20/1/4/? error (")
    assert refused.startswith("llm messages.create [claude-x] error (BadRequestError: ")
