"""CrewAI's ``human_input``: a question of the run in place of one at the terminal."""

from pathlib import Path
from typing import Any

import crewai
import pytest

from kodosumi_prefect.tracer import CurrentTracer
from tests.frameworks.trees import a_run


class Told(crewai.BaseLLM):
    """Says what it was told to, and keeps what it was given last."""

    answers: list[str]
    given: list[Any] = []  # noqa: RUF012  (pydantic copies it)

    def call(self, messages: Any, *_: Any, **__: Any) -> str:
        self.given = list(messages)
        return self.answers.pop(0)


def asking(llm: Any) -> Any:
    writer = crewai.Agent(role="Writer", goal="Write", backstory="Writes.", llm=llm)
    task = crewai.Task(
        name="letter",
        description="Write it",
        expected_output="A letter",
        agent=writer,
        human_input=True,
    )
    return crewai.Crew(agents=[writer], tasks=[task])


class People:
    """Answer the run's questions from a list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *comments: str) -> None:
        self.comments = list(comments)
        self.asked: list[dict[str, Any]] = []
        people = self

        def lock_sync(self: CurrentTracer, name: str, **wording: Any) -> dict[str, Any]:
            people.asked.append({"name": name, **wording})
            return dict(wording["form"].read({"comments": people.comments.pop(0)}))

        async def lock(self: CurrentTracer, name: str, **wording: Any) -> dict[str, Any]:
            return lock_sync(self, name, **wording)

        monkeypatch.setattr(CurrentTracer, "lock_sync", lock_sync)
        monkeypatch.setattr(CurrentTracer, "lock", lock)


def test_comments_have_the_agent_do_it_again_until_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(monkeypatch, "friendlier, please", "")
    llm = Told(model="m", answers=["Go away.", "Please go away."])
    with a_run(tmp_path):
        assert asking(llm).kickoff().raw == "Please go away."
    first, second = people.asked
    assert first["name"] == "review"
    assert first["title"] == "Review the work of Writer"
    assert first["question"] == "Go away."
    assert first["data"] == {"agent": "Writer", "task": "letter"}
    assert second["question"] == "Please go away."
    assert "friendlier, please" in str(llm.given)


async def test_in_async_crews_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(monkeypatch, "")
    with a_run(tmp_path):
        output = await asking(Told(model="m", answers=["Go away."])).akickoff()
    assert output.raw == "Go away."
    assert len(people.asked) == 1


def test_outside_of_runs_the_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(monkeypatch)
    monkeypatch.setattr("builtins.input", lambda: "")
    assert asking(Told(model="m", answers=["Go away."])).kickoff().raw == "Go away."
    assert people.asked == []
