"""OpenAI's Agents SDK: its traces as spans."""

from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_trace_processors,
)
from openai import AsyncOpenAI

from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.tracer import tracer
from tests.frameworks.budgets import refuse_calls
from tests.frameworks.trees import a_run
from tests.frameworks.wire_reply import Asked, Reply
from tests.frameworks.wire_server import Wire


@pytest.fixture(autouse=True)
def nothing_is_exported() -> None:
    set_trace_processors([])  # as who exports elsewhere does; ours stays


@function_tool
def add(a: int, b: int) -> int:
    """Adds."""
    with tracer.span("work it out"):
        return a + b


@function_tool(failure_error_function=None)
def fail() -> int:
    """Does not work."""
    raise ValueError("no")


def responses(wire: Wire) -> Any:
    return OpenAIResponsesModel("gpt-5-mini", AsyncOpenAI(base_url=wire.openai, api_key="k"))


def chat(wire: Wire) -> Any:
    return OpenAIChatCompletionsModel("gpt-5-mini", AsyncOpenAI(base_url=wire.openai, api_key="k"))


@pytest.mark.parametrize("model", [responses, chat])
async def test_a_spent_budget_refuses_the_next_call_of_a_model(
    model: Any, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_calls(monkeypatch)
    with a_run(tmp_path), pytest.raises(BudgetExceededError, match="all of it"):
        await Runner.run(Agent(name="Adder", model=model(wire)), "?")
    assert wire.asked == []


TWO_CALLS = Reply(tools=(Asked("add", {"a": 1, "b": 2}), Asked("add", {"a": 3, "b": 4})))


async def test_a_run_on_responses_with_parallel_tools(wire: Wire, tmp_path: Path) -> None:
    wire.will(TWO_CALLS, Reply("3 and 7"))
    agent = Agent(name="Adder", tools=[add], model=responses(wire))
    with a_run(tmp_path) as spans, tracer.span("mine"):
        assert (await Runner.run(agent, "?")).final_output == "3 and 7"
    assert spans.tree(parallel=True) == [
        "custom mine",
        "  chain Agent workflow",
        "    agent Adder",
        "      chain turn 1",
        "        llm response [gpt-5-mini-2026-01-01] 20/5/4/1",
        "          llm Response [gpt-5-mini-2026-01-01] 20/5/4/1",
        "        tool add",
        "          custom work it out",
        "        tool add",
        "          custom work it out",
        "      chain turn 2",
        "        llm response [gpt-5-mini-2026-01-01] 20/5/4/1",
        "          llm Response [gpt-5-mini-2026-01-01] 20/5/4/1",
    ]
    told = [end["response"] for end in spans.ended.values() if "response" in end]
    assert told == ["resp_1", "resp_1", "resp_2", "resp_2"]
    # What went in is known at the end only.
    assert any("?" in str(end.get("input")) for end in spans.ended.values())


async def test_a_run_on_chat_completions_streamed(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("3 and 7"))
    with a_run(tmp_path) as spans:
        run = Runner.run_streamed(Agent(name="Adder", model=chat(wire)), "?")
        async for _ in run.stream_events():
            pass
    assert spans.tree() == [
        "chain Agent workflow",
        "  agent Adder",
        "    chain turn 1",
        "      llm gpt-5-mini [gpt-5-mini]",
        "        llm ChatCompletion [gpt-5-mini-2026-01-01]",
    ]


async def test_handoffs_and_failures(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply(tools=(Asked("transfer_to_second", {}),)), Reply(tools=(Asked("fail", {}),)))
    second = Agent(name="Second", tools=[fail], model=chat(wire))
    first = Agent(name="First", handoffs=[second], model=chat(wire))
    with a_run(tmp_path) as spans, pytest.raises(Exception, match="no"):
        await Runner.run(first, "?")
    assert spans.tree() == [
        "chain Agent workflow",
        "  agent First",
        "    chain turn 1",
        "      llm gpt-5-mini [gpt-5-mini] 20/5/4/1",
        "        llm ChatCompletion [gpt-5-mini-2026-01-01] 20/5/4/1",
        "      custom handoff",
        "  agent Second error (Error in agent run: Error running tool fail: no)",
        "    chain turn 2",
        "      llm gpt-5-mini [gpt-5-mini] 20/5/4/1",
        "        llm ChatCompletion [gpt-5-mini-2026-01-01] 20/5/4/1",
        "      tool fail error (Error running tool: no)",
    ]
    assert spans.named("handoff")["output"] == {"to": "Second"}
    # The SDK of agents does not tell the response's id; the one below, which does, is the same.
    told = [end["response"] for end in spans.ended.values() if "response" in end]
    assert told == ["chatcmpl-1", "chatcmpl-1", "chatcmpl-2", "chatcmpl-2"]
