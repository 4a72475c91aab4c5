"""Pydantic AI's work as spans, by its own instrumentation, and that of the assistant."""

from pathlib import Path

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from kodosumi_prefect.tracer import tracer
from tests.frameworks.trees import a_run


async def answers(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if len(messages) == 1:
        both = [ToolCallPart("add", {"a": 1, "b": 2}), ToolCallPart("add", {"a": 3, "b": 4})]
        return ModelResponse(parts=both)
    return ModelResponse(parts=[TextPart("3 and 7")])


async def breaks(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    raise ValueError("no")


def add(a: int, b: int) -> int:
    """Adds."""
    with tracer.span("work it out"):
        return a + b


async def test_an_agent_with_tools_called_in_parallel(tmp_path: Path) -> None:
    agent = Agent(FunctionModel(answers, model_name="m"), name="adder", tools=[add])
    with a_run(tmp_path) as spans, tracer.span("mine"):
        assert (await agent.run("?")).output == "3 and 7"
    tokens = [body.pop("usage") for body in spans.ended.values() if "usage" in body]
    assert len(tokens) == 2
    assert spans.tree(parallel=True) == [
        "custom mine",
        "  agent adder",
        "    llm chat m [m]",
        "    llm chat m [m]",
        "    tool add",
        "      custom work it out",
        "    tool add",
        "      custom work it out",
    ]
    assert spans.named("adder")["output"] == "3 and 7"


async def test_a_model_that_fails_is_an_error(tmp_path: Path) -> None:
    agent = Agent(FunctionModel(breaks, model_name="m"), name="adder")
    with a_run(tmp_path) as spans, pytest.raises(ValueError, match="no"):
        await agent.run("?")
    assert spans.tree() == [
        "agent adder error (ValueError: no)",
        "  llm chat m [m] error (ValueError: no)",
    ]
