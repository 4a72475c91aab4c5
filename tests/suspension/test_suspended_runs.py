"""A run that waits for people without a process: leg after leg, on a real Prefect and Postgres."""

from collections.abc import Callable
from typing import Any

import pytest

from kodosumi_prefect import Tracer, flow
from tests.answering import locks
from tests.suspension.conftest import Legs

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]


def test_a_run_ends_at_its_question_and_goes_on_with_the_answer(legs: Make) -> None:
    began: list[str] = []
    ended: list[str] = []

    @flow(retries=1, on_failure=[lambda *_: ended.append("failed")])
    def asks_twice(tracer: Tracer) -> list[Any]:
        began.append(tracer.fid)
        return [tracer.lock_sync("approve", suspend=True) for _ in range(2)]

    run = legs(asks_twice)
    assert run.leg()
    state = run.run.state
    assert state is not None
    assert (state.type.value, state.name) == ("PAUSED", "AwaitingInput")
    assert state.state_details.pause_reschedule
    assert state.state_details.pause_timeout is None
    assert (run.row["status"], run.row["suspended_leg"]) == ("awaiting", 0)
    assert not run.resume(), "nobody answered"
    run.answer(1)
    assert run.resume()
    assert run.run.state_name == "Resuming"
    assert not run.resume(), "it went on already"
    assert run.row["suspended_leg"] is None
    assert run.leg()
    assert run.row["suspended_leg"] == 1
    run.answer(2)
    assert run.resume()
    assert not run.leg()
    found = run.recorded
    assert [entry["int"] for entry in found.final["__list__"]] == [1, 2]
    assert len(began) == 3
    assert ended == []
    assert (found.row["attempt"], run.run.run_count) == (1, 1)
    assert found.of("status") == [
        *("starting", "running", "awaiting", "running", "awaiting", "running", "finished")
    ]
    kinds = [event.kind for event in found.events]
    assert (kinds.count("lock"), kinds.count("lease")) == (2, 2)
    assert len(locks(run.place.database, run.fid, None)) == 2
