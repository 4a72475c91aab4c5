"""The example service that asks a human."""

from typing import Any

import pytest

from flows import review as reviewer
from kodosumi_prefect.core import InputsError, KodosumiError, TracerMock
from kodosumi_prefect.launch.launch import Launch

REQUEST: Any = object()
INPUTS = {"title": "Maintenance", "audience": "all", "points": "* power is off\n* lifts stand"}


class Human(TracerMock):
    """Answers locks from a list, through the service's own functions, as the panel would."""

    def __init__(self, *answers: dict[str, Any] | type[TimeoutError]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.timeouts: list[float | None] = []
        self.options: list[dict[str, Any]] = []

    async def lock(
        self, name: str, data: Any = None, timeout: float | None = None, **options: Any
    ) -> Any:
        assert name == "approve"
        self.options.append(options)
        self.asked.append(data)
        self.timeouts.append(timeout)
        answer = self.answers.pop(0)
        if not isinstance(answer, dict):
            raise answer
        return reviewer.decide(reviewer.ask(data).read(answer))


async def reviewed(human: Human, **more: Any) -> str:
    return (await reviewer.review({**INPUTS, **more}, human)).body


async def test_an_approved_draft_is_the_result_with_its_comments() -> None:
    human = Human({"decision": "approve", "comments": "Well said."})
    body = await reviewed(human)
    assert body.startswith("# Maintenance\n\nTo all:\n\n- Power is off.\n- Lifts stand.")
    assert body.endswith("*Approved as draft 1.*\n\n> Well said.")
    assert human.timeouts == [reviewer.HOURS * 3600]


async def test_comments_add_drop_and_remark_until_it_is_approved() -> None:
    human = Human(
        {"decision": "revise", "comments": "+ water runs\n- lifts\nbe friendlier"},
        {"decision": "approve"},
    )
    body = await reviewed(human, hours=1)
    drafts = [data["draft"] for data in human.asked]
    assert "- Lifts stand." in drafts[0]
    assert "- Water runs." in drafts[1]
    assert "Lifts" not in drafts[1]
    assert "To keep in mind:\n\n- Be friendlier." in drafts[1]
    assert body.startswith(drafts[1])
    assert [data["round"] for data in human.asked] == [1, 2]
    assert human.timeouts == [3600, 3600]


async def test_whom_it_asks_is_chosen_and_reminded_and_may_answer_by_a_link() -> None:
    human = Human(*[{"decision": "approve"}] * 2)
    await reviewed(human, hours=4, reviewers=" team:legal , ann,")
    await reviewed(human)
    assert [options["ask"] for options in human.options] == [["team:legal", "ann"], ["owner"]]
    assert [options["remind"] for options in human.options] == [2 * 3600, 12 * 3600]
    assert all(options["link"] for options in human.options)
    assert all(options["suspend"] == reviewer.SUSPEND for options in human.options)


async def test_the_rounds_are_bounded() -> None:
    human = Human(*[{"decision": "revise", "comments": "no"}] * 5)
    with pytest.raises(KodosumiError, match="none of 2 drafts was approved"):
        await reviewed(human, rounds=2)
    assert len(human.asked) == 2


async def test_if_nobody_answers_it_ends_with_one_line() -> None:
    with pytest.raises(KodosumiError, match=r"nobody answered draft 1 within 2 hours"):
        await reviewed(Human(TimeoutError), hours=2)


async def test_every_point_can_be_dropped() -> None:
    human = Human({"decision": "revise", "comments": "- i\n- e\n-"}, {"decision": "approve"})
    assert "*Nothing is left to say.*" in await reviewed(human)


def test_a_draft_is_not_sent_back_without_a_word() -> None:
    form = reviewer.ask({"draft": "# D", "round": 1, "rounds": 3})
    with pytest.raises(InputsError) as refused:
        reviewer.decide(form.read({"decision": "revise", "comments": " \n"}))
    assert list(refused.value.errors) == ["comments"]
    with pytest.raises(InputsError):
        form.read({"decision": "burn"})


@pytest.mark.parametrize(
    ("posted", "field"),
    [
        ({"title": ""}, "title"),
        ({"points": "*\n  \n"}, "points"),
        ({"points": "one\n" * 51}, "points"),
        ({"points": "x" * 20_001}, "points"),
        ({"rounds": 11}, "rounds"),
        ({"hours": 0}, "hours"),
    ],
)
def test_what_makes_no_draft_is_refused_at_its_field(posted: Any, field: str) -> None:
    with pytest.raises(InputsError) as refused:
        reviewer.enter(reviewer.form.read({**INPUTS, **posted}), REQUEST)
    assert list(refused.value.errors) == [field]


def test_what_the_form_takes_is_launched() -> None:
    launch = reviewer.enter(reviewer.form.read({**INPUTS, "rounds": "2"}), REQUEST)
    assert isinstance(launch, Launch)
    assert launch.entry_point is reviewer.review
    assert launch.summary == "Review: Maintenance"
