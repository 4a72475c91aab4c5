"""The clock of Postgres set back by hours while runs are suspended: as times moved ahead."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.asking import Asking
from kodosumi_prefect.observer.suspended import Suspended
from kodosumi_prefect.stream.reader import Reader
from tests.answering import locks
from tests.spooler.recording import execute
from tests.suspension.conftest import Legs

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]

AHEAD = "interval '2 hours'"


@flow
def asks(tracer: Tracer) -> Any:
    return tracer.lock_sync("approve", remind=["1h", "2h"], timeout=3 * 3600, suspend=True)


def set_back(run: Legs) -> None:
    """Whatever was noted of the run is two hours ahead of the clock now."""
    url = run.place.database
    of_run = f"execution_id = (SELECT id FROM kodosumi.execution WHERE fid = '{run.fid}')"
    row = f"UPDATE kodosumi.execution SET resume_at = resume_at + {AHEAD}"
    execute(url, f"{row} WHERE fid = '{run.fid}'")
    lock = f"opened_at = opened_at + {AHEAD}, expires_at = expires_at + {AHEAD}"
    execute(url, f"UPDATE kodosumi.lock SET {lock}, deadline = deadline + {AHEAD} WHERE {of_run}")
    execute(url, f"UPDATE kodosumi.lock_plan SET due_at = due_at + {AHEAD} WHERE {of_run}")


def look(run: Legs) -> None:
    """As the observer does."""

    async def looks() -> None:
        async with Reader(run.place.database, "kodosumi", 2) as reader, Api() as api:
            await Asking(reader).look()
            await Suspended(reader, api).look()

    asyncio.run(looks())


def goes_on(run: Legs) -> None:
    look(run)
    assert run.run.state_name == "Resuming"
    assert not run.leg()
    found = run.recorded
    assert found.final == {"str": "yes"}
    assert len(found.of("lock")) == len(found.of("lease")) == 1


def test_what_was_answered_goes_on_all_the_same(legs: Make) -> None:
    run = legs(asks)
    assert run.leg()
    run.answer("yes")
    set_back(run)
    goes_on(run)


def test_what_somebody_claimed_and_left_goes_on_all_the_same(legs: Make) -> None:
    run = legs(asks)
    assert run.leg()
    run.answer("yes")
    claimed = "UPDATE kodosumi.execution SET resume_at = now() + interval '30 seconds'"
    execute(run.place.database, f"{claimed} WHERE fid = '{run.fid}'")
    set_back(run)
    goes_on(run)


def test_what_is_asked_waits_for_the_clock_and_can_be_answered(legs: Make) -> None:
    """Neither is anybody reminded twice, nor does the question end before its time."""
    run = legs(asks)
    assert run.leg()
    look(run)
    first = "UPDATE kodosumi.lock_plan SET due_at = now() WHERE step = 'reminded' AND number = 0"
    execute(run.place.database, first)
    look(run)
    set_back(run)
    look(run)
    said = [text for text in run.recorded.of("debug") if "reminded" in text]
    assert len(said) == 1
    assert run.run.state_name == "AwaitingInput"
    assert [lock["state"] for lock in locks(run.place.database, run.fid, None)] == ["open"]
    run.answer("yes")
    goes_on(run)
