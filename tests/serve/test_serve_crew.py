"""CrewAI crews as entrypoints: real crewai, a model that answers from a list."""

import asyncio
import os
import subprocess
import sys
from contextvars import ContextVar
from datetime import date
from threading import current_thread, main_thread
from typing import Any, ClassVar

import orjson
import pytest

from kodosumi_prefect import flow
from kodosumi_prefect.adapter.crew import QUIET, is_crew, quieten, run_crew, run_crew_async
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import Kind
from kodosumi_prefect.launch.target import runnable
from kodosumi_prefect.tracer import Tracer, TracerMock
from tests.services import Place

crewai = pytest.importorskip("crewai", reason="CrewAI has no release for this Python")
crewai_project = pytest.importorskip("crewai.project")
crewai_tools = pytest.importorskip("crewai.tools")


class Answers(crewai.BaseLLM):
    """A model that says what it was told to, one after the other."""

    answers: list[str]

    def call(self, *_: Any, **__: Any) -> str:
        return self.answers.pop(0)

    def supports_function_calling(self) -> bool:
        return False


class Recorder(TracerMock):
    """Keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, Any]] = []

    def _put(self, kind: Kind, payload: str) -> Any:
        self.kept.append((str(kind), orjson.loads(payload)))
        return super()._put(kind, payload)

    def of(self, kind: str) -> list[Any]:
        return [payload for said, payload in self.kept if said == kind]


@crewai_tools.tool("measure")
def measure(what: str) -> str:
    """Tells how long something is."""
    return f"{what} is 12 m long"


MEASURE = 'Thought: I measure\nAction: measure\nAction Input: {"what": "it"}\n'


def final(text: str) -> str:
    return f"Thought: I know it\nFinal Answer: {text}"


def crew_of(*answers: str, **more: Any) -> Any:
    """Two agents and two tasks in a row."""
    model = Answers(model="told", answers=list(answers))
    keeper = crewai.Agent(
        role="Keeper of {topic}",
        goal="Know about {topic}",
        backstory="Reads about {topic}.",
        llm=model,
        tools=[measure],
    )
    writer = crewai.Agent(role="Writer", goal="Write", backstory="Writes.", llm=model)
    tasks = [
        crewai.Task(
            name="find",
            description="Find out about {topic} by {day}",
            expected_output="A fact on {topic}",
            agent=keeper,
            tools=[measure],
        ),
        crewai.Task(description="Write it down", expected_output="A sentence", agent=writer),
    ]
    return crewai.Crew(agents=[keeper, writer], tasks=tasks, **more)


INPUTS = {"topic": "bridges", "day": date(2026, 3, 1)}


def test_agents_and_tasks_are_told_with_their_inputs_filled_in() -> None:
    tracer = Recorder()
    run_crew(crew_of(final("It spans."), final("Bridges span.")), INPUTS, tracer)
    told = {"name": "measure", "description": measure.description}
    assert [payload["dict"] for payload in tracer.of("agent")] == [
        {
            "agent": {
                "role": "Keeper of bridges",
                "goal": "Know about bridges",
                "backstory": "Reads about bridges.",
                "tools": [told],
            }
        },
        {"agent": {"role": "Writer", "goal": "Write", "backstory": "Writes.", "tools": []}},
        {
            "task": {
                "name": "find",
                "description": "Find out about bridges by 2026-03-01",
                "expected_output": "A fact on bridges",
                "agent": "Keeper of bridges",
                "tools": [told],
            }
        },
        {
            "task": {
                "name": None,
                "description": "Write it down",
                "expected_output": "A sentence",
                "agent": "Writer",
                "tools": [],
            }
        },
    ]
    assert [kind for kind, _ in tracer.kept[:4]] == ["agent"] * 4


def test_steps_are_actions_and_tasks_are_results() -> None:
    tracer = Recorder()
    output = run_crew(crew_of(MEASURE, final("12 m"), final("Long.")), INPUTS, tracer)
    assert output.raw == "Long."
    actions = {name: value for payload in tracer.of("action") for name, value in payload.items()}
    assert set(actions) == {"ToolResult", "AgentAction"}
    assert actions["ToolResult"]["result"] == "it is 12 m long"
    assert actions["AgentAction"]["tool"] == "measure"
    results = [payload["TaskOutput"] for payload in tracer.of("result")]
    assert [result["raw"] for result in results] == ["12 m", "Long."]
    assert results[0]["name"] == "find"


@pytest.mark.parametrize("agents_own", [False, True])
def test_callbacks_of_the_crew_and_its_parts_are_still_called_and_left_in_place(
    agents_own: bool,
) -> None:
    called: list[str] = []

    def note(name: str) -> Any:
        return lambda output: called.append(f"{name} {type(output).__name__}")

    crew = crew_of(
        MEASURE,
        final("a"),
        final("b"),
        step_callback=note("crew step"),
        task_callback=note("crew task"),
    )
    if agents_own:
        crew.agents[0].step_callback = note("agent step")
    crew.tasks[1].callback = note("own task")
    before = _callbacks(crew)
    tracer = Recorder()
    run_crew(crew, INPUTS, tracer)
    step = "agent step" if agents_own else "crew step"
    assert called == [
        f"{step} ToolResult",
        f"{step} AgentAction",
        "crew task TaskOutput",
        "own task TaskOutput",
        "crew task TaskOutput",
    ]
    assert len(tracer.of("action")) == len(tracer.of("result")) == 2
    assert _callbacks(crew) == before


def _callbacks(crew: Any) -> list[Any]:
    return [
        crew.step_callback,
        crew.task_callback,
        *(agent.step_callback for agent in crew.agents),
        *(task.callback for task in crew.tasks),
    ]


def test_a_crew_runs_again_with_other_inputs_and_tells_each_task_once() -> None:
    crew = crew_of(MEASURE, final("a"), final("b"), MEASURE, final("c"), final("d"))
    run_crew(crew, INPUTS, TracerMock())
    tracer = Recorder()
    output = run_crew(crew, {**INPUTS, "topic": "tunnels"}, tracer)
    assert output.raw == "d"
    assert [result["TaskOutput"]["raw"] for result in tracer.of("result")] == ["c", "d"]
    assert len(tracer.of("action")) == 2
    assert tracer.of("agent")[0]["dict"]["agent"]["role"] == "Keeper of tunnels"


def test_a_crew_that_fails_raises_what_crewai_raised_and_is_left_as_it_came() -> None:
    crew = crew_of()
    before = _callbacks(crew)
    with pytest.raises(IndexError, match="pop from empty list"):
        run_crew(crew, INPUTS, TracerMock())
    assert _callbacks(crew) == before


def test_a_streaming_crew_gives_its_result() -> None:
    crew = crew_of(final("a"), final("b"), stream=True)
    assert run_crew(crew, INPUTS, TracerMock()).raw == "b"


async def test_called_from_async_code_the_loop_is_free_and_the_context_kept() -> None:
    told: ContextVar[str] = ContextVar("told")
    told.set("kept")
    seen: list[tuple[str, bool]] = []

    class Slow:
        def kickoff(self, inputs: dict[str, Any]) -> str:
            seen.append((told.get(), current_thread() is main_thread()))
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
            return f"hello {inputs['name']}"

    loop = asyncio.get_running_loop()
    assert await run_crew_async(Slow(), {"name": "Ada"}, TracerMock()) == "hello Ada"
    assert seen == [("kept", False)]


@crewai_project.CrewBase
class Team:
    """As `crewai create` lays crews out."""

    agents_config: ClassVar[dict[str, Any]] = {}
    tasks_config: ClassVar[dict[str, Any]] = {}

    @crewai_project.before_kickoff
    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {**inputs, "topic": inputs["topic"].upper()}

    @crewai_project.agent
    def author(self) -> Any:
        model = Answers(model="told", answers=[final("About BRIDGES.")])
        return crewai.Agent(role="Author", goal="Write", backstory="Writes.", llm=model)

    @crewai_project.task
    def sentence(self) -> Any:
        return crewai.Task(
            description="Write on {topic}", expected_output="Text", agent=self.author()
        )

    @crewai_project.crew
    def crew(self) -> Any:
        return crewai.Crew(agents=self.agents, tasks=self.tasks)


def test_a_class_marked_as_crew_base_is_made_and_run() -> None:
    assert is_crew(Team)
    tracer = Recorder()
    output = run_crew(Team, INPUTS, tracer)
    assert output.raw == "About BRIDGES."
    assert [set(payload["dict"]) for payload in tracer.of("agent")] == [{"agent"}, {"task"}]


def test_an_object_of_a_crew_base_runs_too() -> None:
    team = Team()
    assert is_crew(team) and runnable(team)
    assert run_crew(team, INPUTS, TracerMock()).raw == "About BRIDGES."


def test_crewais_flows_and_lone_agents_run() -> None:
    from crewai.flow.flow import Flow, start

    class Greeting(Flow):
        @start()
        def greet(self) -> str:
            return f"hello {self.state['name']}"

    assert run_crew(Greeting, {"name": "Ada"}, TracerMock()) == "hello Ada"
    agent = crew_of(final("Yes.")).agents[1]
    tracer = Recorder()
    assert run_crew(agent, {"question": "Is it long?"}, tracer).raw == "Yes."


@pytest.mark.parametrize("name", ["kickoff", "kickoff_async"])
def test_what_kicks_off_in_async_code_is_awaited_while_its_steps_are_kept(name: str) -> None:
    async def start(self: Any, inputs: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        self.step_callback({"said": inputs["of"]})
        return f"sung of {inputs['of']}"

    crew = type("Choir", (), {name: start, "step_callback": None})()
    tracer = Recorder()
    assert is_crew(crew)
    assert run_crew(crew, {"of": "rain"}, tracer) == "sung of rain"
    assert tracer.of("action") == [{"dict": {"said": "rain"}}]
    assert asyncio.run(run_crew_async(crew, {"of": "snow"}, tracer)) == "sung of snow"
    assert crew.step_callback is None


def test_what_cannot_be_kicked_off_is_refused_by_name() -> None:
    assert not is_crew(print)
    with pytest.raises(KodosumiError, match="3 has no kickoff"):
        run_crew(3, {}, TracerMock())


def test_a_run_keeps_the_crews_events_and_its_output(place: Place) -> None:
    @flow
    def crewed(inputs: dict[str, Any], tracer: Tracer) -> Any:
        return run_crew(crew_of(MEASURE, final("a"), final("**b**")), inputs, tracer)

    recorded = place.run(crewed, {"topic": "bridges", "day": "today"})
    assert recorded.row["error"] is None
    assert recorded.final["CrewOutput"]["raw"] == "**b**"
    kinds = [event.kind for event in recorded.events if event.kind in ("agent", "action", "result")]
    assert kinds == ["agent"] * 4 + ["action", "action", "result", "result"]


def test_crewai_reports_nothing_asks_nothing_and_takes_no_signals() -> None:
    script = """
import signal
import kodosumi_prefect.core
import crewai
from crewai.telemetry import Telemetry
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert not Telemetry().ready
from crewai.events.listeners.tracing.utils import should_enable_tracing
from crewai.execution import _tracing_disabled
assert not should_enable_tracing() and _tracing_disabled(None)
"""
    kept = {name: value for name, value in os.environ.items() if name not in QUIET}
    subprocess.run([sys.executable, "-c", script], check=True, env=kept, timeout=120)


def test_who_wants_crewais_tracing_still_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWAI_TRACING_ENABLED", "true")
    quieten()
    assert os.environ["CREWAI_TRACING_ENABLED"] == "true"


def test_without_crews_crewai_is_not_imported() -> None:
    script = "import sys, kodosumi_prefect.core; assert 'crewai' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
