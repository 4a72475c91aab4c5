"""LangChain's and LangGraph's work as spans: agents, graphs, calls of models and tools."""

import asyncio
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.tracer import tracer
from tests.frameworks.budgets import hold_calls
from tests.frameworks.trees import a_run
from tests.frameworks.wire_reply import Asked, Reply
from tests.frameworks.wire_server import Wire

QUESTION = {"messages": [{"role": "user", "content": "1 + 2?"}]}


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    with tracer.span("work it out"):
        return a + b


def openai(wire: Wire, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-5-mini", base_url=wire.openai, api_key="k", **more)


def adding(llm: str, sdk: str) -> list[str]:
    """What an agent does that calls its model twice and two tools in between.

    The instrumentation of the provider's SDK tells of each call, too.
    """
    return [
        "agent adder",
        "  chain model",
        f"    llm {llm}",
        f"      llm {sdk}",
        "  chain model",
        f"    llm {llm}",
        f"      llm {sdk}",
        "  chain tools",
        "    tool add",
        "      custom work it out",
        "  chain tools",
        "    tool add error (pydantic_core._pydantic_core.ValidationError: "
        "1 validation error for add)",
    ]


TWO_CALLS = Reply(tools=(Asked("add", {"a": 1, "b": 2}), Asked("add", {"a": 3, "b": "x"})))


def test_an_agent_with_tools_called_in_parallel(wire: Wire, tmp_path: Path) -> None:
    wire.will(TWO_CALLS, Reply("It is 3."))
    agent = create_agent(openai(wire), [add], name="adder")
    with a_run(tmp_path) as spans, tracer.span("mine"):
        said = agent.invoke(QUESTION)
    assert said["messages"][-1].content == "It is 3."
    answer = "[gpt-5-mini-2026-01-01] 20/5/4/1"
    tree = adding(f"ChatOpenAI {answer}", f"ChatCompletion {answer}")
    assert spans.tree(parallel=True) == ["custom mine", *[f"  {line}" for line in tree]]
    called = spans.begun[3]
    assert called["provider"] == "openai"
    assert called["input"][0] == {"role": "user", "content": "1 + 2?"}
    end = spans.ended[called["id"]]
    assert end["response"] == "chatcmpl-1"
    assert end["output"]["tool_calls"][0]["arguments"] == {"a": 1, "b": 2}


async def test_the_same_in_async_code_on_anthropics_sdk(wire: Wire, tmp_path: Path) -> None:
    wire.will(TWO_CALLS, Reply("It is 3."))
    model = ChatAnthropic(model="claude-x", base_url=wire.url, api_key="k")
    agent = create_agent(model, [add], name="adder")
    with a_run(tmp_path) as spans:
        await agent.ainvoke(QUESTION)
    answer = "[claude-x-20260101] 20/5/4/?"
    tree = adding(f"ChatAnthropic {answer}", f"messages.create {answer}")
    assert spans.tree(parallel=True) == tree
    # Each call is told of twice, and counted once.
    told = [end["response"] for end in spans.ended.values() if "response" in end]
    assert sorted(told) == ["msg_1", "msg_1", "msg_2", "msg_2"]


@pytest.mark.parametrize("usage", [True, False])
def test_streams_with_and_without_usage(usage: bool, wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("It is 3."))
    with a_run(tmp_path) as spans:
        assert "".join(c.text for c in openai(wire, stream_usage=usage).stream("?")) == "It is 3."
    tokens = " 20/5/4/1" if usage else ""
    assert spans.tree() == [
        f"llm ChatOpenAI [gpt-5-mini-2026-01-01]{tokens}",
        f"  llm ChatCompletion [gpt-5-mini-2026-01-01]{tokens}",
    ]


def test_refusals_are_retried_within_one_call_and_a_cut_stream_is_an_error(
    wire: Wire, tmp_path: Path
) -> None:
    wire.will(Reply(status=429), Reply("It is 3."), Reply("It is 3.", cut_after=2))
    with a_run(tmp_path) as spans:
        openai(wire).invoke("?")
        with pytest.raises(Exception, match=r"[Cc]onnection|peer"):
            list(openai(wire).stream("?"))
    answered, _, cut, _ = spans.tree()
    assert answered == "llm ChatOpenAI [gpt-5-mini-2026-01-01] 20/5/4/1"
    assert cut.startswith("llm ChatOpenAI [gpt-5-mini] error (")


class State(TypedDict):
    said: str


def test_graphs_nodes_and_interrupts(tmp_path: Path) -> None:
    def ask(state: State) -> State:
        with tracer.span("inside"):
            pass
        return {"said": interrupt("what?")}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    compiled = graph.compile(checkpointer=InMemorySaver(), name="asking")
    with a_run(tmp_path) as spans:
        compiled.invoke({"said": ""}, {"configurable": {"thread_id": "1"}})
    assert spans.tree() == ["chain asking", "  chain ask", "    custom inside"]


class Shelf(BaseRetriever):
    """Finds one book."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document(page_content=f"on {query}", metadata={"page": 3})]


def test_retrievers_chains_and_what_fails_in_them(tmp_path: Path) -> None:
    def broken(_: Any) -> None:
        raise ValueError("no")

    with a_run(tmp_path) as spans:
        found = (RunnableLambda(lambda x: x["q"]) | Shelf()).invoke({"q": "bridges"})
        assert found[0].page_content == "on bridges"
        with pytest.raises(ValueError, match="no"):
            RunnableLambda(broken).invoke("x")
    assert spans.tree() == [
        "chain RunnableSequence",
        "  chain RunnableLambda",
        "  retrieval Shelf",
        "chain broken error (ValueError: no)",
    ]
    assert spans.named("Shelf")["output"] == [{"content": "on bridges", "metadata": {"page": 3}}]


def test_a_spent_budget_refuses_the_next_call_of_a_model(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(fid: str) -> None:
        raise BudgetExceededError("all of it")

    monkeypatch.setattr("kodosumi_prefect.budgets.check", spent)
    with a_run(tmp_path), pytest.raises(BudgetExceededError, match="all of it"):
        openai(wire).invoke("?")
    assert wire.asked == []


@pytest.mark.parametrize("streams", [False, True])
async def test_a_coroutine_waits_while_somebody_is_asked(
    streams: bool, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = hold_calls(monkeypatch)
    wire.will(Reply("It is 3."))

    async def call() -> str:
        if not streams:
            return str((await openai(wire).ainvoke("?")).content)
        return "".join([str(piece.content) async for piece in openai(wire).astream("?")])

    with a_run(tmp_path):
        waiting = asyncio.ensure_future(call())
        await asyncio.wait_for(answered.asked.wait(), 10)
        assert wire.asked == []
        answered.go_on()
        assert await waiting == "It is 3."


def test_turned_off_it_records_nothing(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("It is 3."))
    with a_run(tmp_path, span_sources_off=["langchain"]) as spans:
        openai(wire).invoke("?")
    assert [line for line in spans.tree() if "ChatOpenAI" in line] == []
