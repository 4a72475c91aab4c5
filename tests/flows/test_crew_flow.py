"""The example service whose work a CrewAI crew does, on a model that answers from a list."""

from typing import Any

import pytest

from kodosumi_prefect.core import InputsError, KodosumiError, TracerMock
from kodosumi_prefect.launch.entrypoint import run_entrypoint
from tests.services import Place

crewai = pytest.importorskip("crewai", reason="CrewAI has no release for this Python")
from flows import crew as briefing  # noqa: E402

REQUEST: Any = object()
VARIABLES = ["MODEL", *(n for wanted in briefing.KEYS.values() for names in wanted for n in names)]


class Told(crewai.BaseLLM):
    """Says what it was told to, one after the other."""

    answers: list[str]

    def call(self, *_: Any, **__: Any) -> str:
        return self.answers.pop(0)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def entered() -> Any:
    return briefing.enter(briefing.form.read({"topic": "bridges"}), REQUEST)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "the variable MODEL is not set"),
        ({"MODEL": "gpt"}, "the variable MODEL is 'gpt'; set it to provider/model"),
        ({"MODEL": "openai/x"}, "which needs OPENAI_API_KEY to be set"),
        ({"MODEL": "gemini/x"}, "which needs GEMINI_API_KEY or GOOGLE_API_KEY to be set"),
        (
            {"MODEL": "azure/x", "AZURE_API_KEY": "k"},
            "which needs AZURE_ENDPOINT or AZURE_API_BASE to be set",
        ),
        ({"MODEL": "anthropic/x", "ANTHROPIC_API_KEY": ""}, "needs ANTHROPIC_API_KEY to be set"),
    ],
)
def test_without_its_model_variables_it_says_which_and_launches_nothing(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputsError) as refused:
        entered()
    (message,) = refused.value.errors["_global_"]
    assert said in message
    with pytest.raises(KodosumiError, match="on the Ray nodes as well"):
        briefing.brief({"topic": "bridges"}, TracerMock())


@pytest.mark.parametrize(
    "variables",
    [
        {"MODEL": "openai/x", "OPENAI_API_KEY": "k"},
        {"MODEL": "gemini/x", "GOOGLE_API_KEY": "k"},
        {"MODEL": "ollama/x"},
        {"MODEL": "someone/x"},
    ],
)
def test_with_them_it_launches(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert entered().entry_point is briefing.brief


def test_the_form_and_the_description_name_every_variable() -> None:
    shown = str(briefing.form.get_model())
    (route,) = [
        r for r in briefing.app.routes if getattr(r, "path", "") == "/" and "GET" in r.methods
    ]
    for name in VARIABLES:
        assert f"`{name}`" in shown
        assert f"`{name}`" in route.description


def test_a_run_tells_agents_tasks_and_the_briefing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", "ollama/none")
    told = Told(model="told", answers=["They hang.", "# Bridges\n\nThey hang."])
    monkeypatch.setattr(briefing, "model", lambda: told)
    inputs = {"topic": "bridges", "audience": "children"}
    recorded = place.run(run_entrypoint, "flows.crew:brief", inputs)
    assert recorded.row["error"] is None
    assert recorded.final["CrewOutput"]["raw"] == "# Bridges\n\nThey hang."
    agents = [event.value for event in recorded.events if event.kind == "agent"]
    assert [agent["agent"]["role"] for agent in agents[:2]] == ["Researcher of bridges", "Writer"]
    assert [task["task"]["name"] for task in agents[2:]] == ["facts", "briefing"]
    assert len(recorded.of("result")) == 2
    begun = [event.value for event in recorded.events if event.kind == "span"]
    spans = {body["id"]: body for body in begun if body["at"] == "begin"}
    above = {
        body["name"]: (body["type"], spans[body["parent"]]["name"] if "parent" in body else None)
        for body in spans.values()
    }
    assert above == {
        "crew": ("chain", None),
        "facts": ("task", "crew"),
        "Researcher of bridges": ("agent", "facts"),
        "briefing": ("task", "crew"),
        "Writer": ("agent", "briefing"),
    }
    ended = {body["id"] for body in begun if body["at"] == "end" and body["status"] == "ok"}
    assert ended == spans.keys()
