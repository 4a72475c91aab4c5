"""CrewAI's work as spans: crews, tasks, agents, calls of models and tools."""

import threading
from contextvars import copy_context
from pathlib import Path
from typing import Any

import crewai
import pytest
from crewai.flow.flow import Flow, listen, start
from crewai.tools import tool

from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.tracer import tracer
from tests.frameworks.trees import Spans, a_run
from tests.frameworks.wire_reply import Asked, Reply
from tests.frameworks.wire_server import Wire


@tool("measure")
def measure(what: str) -> str:
    """Tells how long something is."""
    with tracer.span("look it up"):
        return f"{what} is 12 m long"


@tool("fail")
def fail(what: str) -> str:
    """Does not work."""
    raise ValueError(f"{what} is not there")


def crew_of(llm: Any, *tools: Any, **more: Any) -> Any:
    keeper = crewai.Agent(
        role="Keeper",
        goal="Know",
        backstory="Reads.",
        llm=llm,
        tools=list(tools),
        max_retry_limit=0,
    )
    task = crewai.Task(name="find", description="Find", expected_output="A fact", agent=keeper)
    return crewai.Crew(name="facts", agents=[keeper], tasks=[task], **more)


def an_llm(wire: Wire, **more: Any) -> Any:
    return crewai.LLM(model="openai/gpt-5-mini", base_url=wire.openai, api_key="k", **more)


def test_a_crew_on_openais_sdk_is_a_tree(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply(tools=(Asked("measure", {"what": "it"}),)), Reply("12 m", tokens=(40, 7, 0, 2)))
    with a_run(tmp_path) as spans, tracer.span("research", type="agent"):
        assert crew_of(an_llm(wire), measure).kickoff().raw == "12 m"
    assert spans.tree() == [
        "agent research",
        "  chain facts",
        "    task find",
        "      agent Keeper",
        "        llm gpt-5-mini [gpt-5-mini] 20/5/4/1",
        "          llm ChatCompletion [gpt-5-mini-2026-01-01] 20/5/4/1",
        "        tool measure",
        "          custom look it up",
        "        llm gpt-5-mini [gpt-5-mini] 40/7/0/2",
        "          llm ChatCompletion [gpt-5-mini-2026-01-01] 40/7/0/2",
    ]
    called = spans.named("measure")
    assert (called["input"], called["output"]) == ({"what": "it"}, "it is 12 m long")
    # CrewAI tells of it in a thread of its own, at times behind the SDK.
    first = next(body for body in spans.begun if body["name"] == "gpt-5-mini")
    assert first["provider"] == "openai"
    assert first["input"][0]["role"] == "system"
    assert spans.ended[first["id"]]["response"] == "chatcmpl-1"


def test_a_spent_budget_refuses_the_next_call_of_a_model(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(fid: str) -> None:
        raise BudgetExceededError("all of it")

    monkeypatch.setattr("kodosumi_prefect.budgets.check", spent)
    crew = crew_of(an_llm(wire))
    with a_run(tmp_path), pytest.raises(BudgetExceededError, match="all of it"):
        # In a context of its own: an abort leaves CrewAI's stack of events in the middle.
        copy_context().run(crew.kickoff)
    assert wire.asked == []


def test_streamed_answers_have_their_tokens(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply("12 m long"))
    with a_run(tmp_path) as spans:
        crew_of(an_llm(wire, stream=True)).kickoff()
    assert spans.tree()[-2].endswith("llm gpt-5-mini [gpt-5-mini] 20/5/4/1")


def test_a_tool_and_a_model_that_fail_are_errors(wire: Wire, tmp_path: Path) -> None:
    wire.will(Reply(tools=(Asked("fail", {"what": "it"}),)), *[Reply(status=500)] * 9)
    with a_run(tmp_path) as spans, pytest.raises(Exception, match="500"):
        crew_of(an_llm(wire), fail).kickoff()
    tree = spans.tree()
    assert [line.partition(" (")[0] for line in tree] == [
        "chain facts error",
        "  task find error",
        "    agent Keeper error",
        "      llm gpt-5-mini [gpt-5-mini] 20/5/4/1",
        "        llm ChatCompletion [gpt-5-mini-2026-01-01] 20/5/4/1",
        "      tool fail error",
        "      llm gpt-5-mini [gpt-5-mini] error",
        "        llm ChatCompletion error",
    ]
    assert "it is not there" in tree[5]
    assert all("Error code: 500" in tree[line] for line in (0, 1, 2, 6, 7))


class Told(crewai.BaseLLM):
    """Says what it was told to."""

    answers: list[str]

    def call(self, *_: Any, **__: Any) -> str:
        return self.answers.pop(0)


def test_flows_and_crews_in_them_lie_below_each_other(tmp_path: Path) -> None:
    class Greeting(Flow[Any]):
        @start()
        def greet(self) -> str:
            return str(crew_of(Told(model="m", answers=["hello"])).kickoff().raw)

        @listen(greet)
        def part(self, said: str) -> str:
            return f"{said} and bye"

    with a_run(tmp_path) as spans:
        assert Greeting().kickoff() == "hello and bye"
    assert spans.tree() == [
        "chain Greeting",
        "  chain greet",
        "    chain facts",
        "      task find",
        "        agent Keeper",
        "  chain part",
    ]


def test_of_two_runs_in_threads_each_gets_its_own(tmp_path: Path) -> None:
    kept: dict[str, Spans] = {}

    def run(name: str) -> None:
        with a_run(tmp_path) as spans, tracer.span(name):
            crew_of(Told(model="m", answers=["hello"])).kickoff()
        kept[name] = spans

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
        thread.join()
    for name, spans in kept.items():
        assert spans.tree()[:3] == [f"custom {name}", "  chain facts", "    task find"]


def test_outside_of_runs_and_turned_off_nothing_is_recorded(tmp_path: Path) -> None:
    crew_of(Told(model="m", answers=["hello"])).kickoff()
    with a_run(tmp_path, span_sources_off=["crewai"]) as spans:
        crew_of(Told(model="m", answers=["hello"])).kickoff()
    assert spans.tree() == []
