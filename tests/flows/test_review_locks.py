"""The example service that asks a human, with locks in Postgres and answers from outside."""

from typing import Any

import pytest

from flows import review as reviewer
from kodosumi_prefect import Tracer, flow
from tests.services import Place

answering = pytest.importorskip("tests.answering")


async def test_a_draft_waits_is_revised_and_finishes_when_it_is_approved(place: Place) -> None:
    @flow
    async def reviewed(inputs: dict[str, Any], tracer: Tracer) -> Any:
        return await reviewer.review(inputs, tracer)

    answers = [{"decision": "revise", "comments": "+ water runs"}, {"decision": "approve"}]

    def reply(name: str, data: Any) -> Any:
        assert name == "approve"
        return reviewer.decide(reviewer.ask(data).read(answers.pop(0)))

    inputs = {"title": "Maintenance", "points": "power is off", "rounds": 3, "hours": 1}
    with answering.Answerer(place.database, reply):
        recorded = await place.run_async(reviewed, inputs)
    assert recorded.row["error"] is None
    assert "- Water runs." in recorded.final["Markdown"]["body"]
    assert recorded.of("status") == [
        *("starting", "running", "awaiting", "running", "awaiting", "running", "finished")
    ]
    told = [event.kind for event in recorded.events if event.kind in ("lock", "lease", "action")]
    assert told == ["lock", "lease", "action", "lock", "lease"]
    assert not answers
