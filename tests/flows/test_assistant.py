"""The example service whose questions an agent of Pydantic AI answers, on its built-in model."""

from pathlib import Path
from typing import Any

import pytest

from flows import assistant
from kodosumi_prefect.core import InputsError, KodosumiError
from kodosumi_prefect.launch.entrypoint import run_entrypoint
from tests.frameworks.trees import a_run
from tests.services import Place

pydantic_ai = pytest.importorskip("pydantic_ai")
REQUEST: Any = object()


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def answered(question: str) -> str:
    return (await assistant.assist({"question": question})).body


async def test_the_question_of_its_form_is_answered_with_both_tools(tmp_path: Path) -> None:
    inputs = assistant.form.read({"question": assistant.QUESTION})
    assert assistant.enter(inputs, REQUEST).entry_point is assistant.assist
    with a_run(tmp_path) as spans:
        answer = await answered(inputs["question"])
    assert answer == "From 2026-03-01 to 2026-12-24 there are 298 days. 17 * 23 is 391."
    for body in spans.ended.values():
        body.pop("usage", None)
    assert spans.tree(parallel=True) == [
        "agent assistant",
        "  llm chat built-in [built-in]",
        "  llm chat built-in [built-in]",
        "  tool calculate",
        "  tool days_between",
    ]
    assert spans.named("calculate")["input"] == {"expression": "17 * 23"}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what is (2 + 3) * -4?", "(2 + 3) * -4 is -20."),
        ("7 / 2", "7 / 2 is 3.5."),
        ("1 / 0", "'1 / 0' cannot be worked out"),
        ("9 ** 9 ** 9", "'9 ** 9 ** 9' cannot be worked out"),
        ("who are you?", "The built-in model answers sums"),
    ],
)
async def test_what_the_built_in_model_makes_of_questions(question: str, answer: str) -> None:
    assert (await answered(question)).startswith(answer)


def test_only_sums_are_worked_out() -> None:
    for text in ("__import__('os')", "a + 1", "'a' * 9", "True + 1", "1 +"):
        with pytest.raises(pydantic_ai.ModelRetry, match="cannot be worked out"):
            assistant.calculate(text)


@pytest.mark.parametrize(
    ("model", "said"),
    [("gpt", "it is not provider/model"), ("nobody/x", "nobody")],
)
async def test_a_model_that_cannot_be_used_is_refused_before_the_run_and_in_it(
    model: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", model)
    with pytest.raises(InputsError) as refused:
        assistant.enter({"question": "?"}, REQUEST)
    (message,) = refused.value.errors["_global_"]
    assert message.startswith(f"MODEL is {model!r}, which cannot be used: ")
    assert said in message
    with pytest.raises(KodosumiError, match="on the Ray nodes, too"):
        await answered("?")


def test_a_run_of_it_shows_its_trace(place: Place) -> None:
    recorded = place.run(run_entrypoint, "flows.assistant:assist", {"question": "17 * 23"})
    assert recorded.final["Markdown"]["body"] == "17 * 23 is 391."
    begun = [event.value for event in recorded.events if event.kind == "span"]
    names = {body["id"]: body["name"] for body in begun if body["at"] == "begin"}
    above = [
        (body["name"], names.get(body.get("parent"))) for body in begun if body["at"] == "begin"
    ]
    assert above == [
        ("assistant", None),
        ("chat built-in", "assistant"),
        ("calculate", "assistant"),
        ("chat built-in", "assistant"),
    ]
    assert recorded.row["model_calls"] == 2
    assert recorded.row["tool_calls"] == 1
