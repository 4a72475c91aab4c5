"""A run that waits without a process while its question takes its course: reminders, time is up."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.observer.asking import Asking
from kodosumi_prefect.stream.reader import Reader
from tests.answering import locks
from tests.locks.people import fetch, person
from tests.suspension.conftest import Legs

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]

IN_VAIN = "lock 'approve' was not answered within 3600 seconds"


def look(url: str) -> None:
    """As the observer does each second."""

    async def run() -> None:
        async with Reader(url, "kodosumi", 2) as reader:
            await Asking(reader).look()

    asyncio.run(run())


def pass_hours(run: Legs, hours: int) -> None:
    """By the clock of Postgres, for what is asked and planned."""
    earlier = f"interval '{hours} hours'"
    execution = f"(SELECT id FROM kodosumi.execution WHERE fid = '{run.fid}')"
    with psycopg.connect(run.place.database) as connection:
        for table, columns in (
            ("lock", ("opened_at", "expires_at", "deadline")),
            ("lock_plan", ("due_at",)),
        ):
            moved = ", ".join(f"{name} = {name} - {earlier}" for name in columns)
            where = f"WHERE execution_id = {execution}"
            connection.execute(f"UPDATE kodosumi.{table} SET {moved} {where}".encode())
        moved = f"UPDATE kodosumi.execution SET resume_at = resume_at - {earlier}"
        connection.execute(f"{moved} WHERE fid = '{run.fid}'".encode())


def done(run: Legs) -> list[tuple[str, list[str]]]:
    """What was done about its questions, in its order."""
    rows = fetch(
        run.place.database,
        "SELECT s.step, s.reached FROM kodosumi.lock_step s JOIN kodosumi.execution e"
        " ON e.id = s.execution_id WHERE e.fid = %s ORDER BY s.id",
        run.fid,
    )
    return [(row["step"], row["reached"]) for row in rows]


@pytest.mark.parametrize("expiry", ["value", "raise"])
def test_a_suspended_question_is_reminded_of_and_ends_by_itself(legs: Make, expiry: str) -> None:
    mira, lead = (f"{name}-{uuid4().hex[:8]}" for name in ("mira", "lead"))
    more: dict[str, Any] = {"on_expiry": {"approved": False}} if expiry == "value" else {}
    began: list[int] = []

    @flow
    def asks(tracer: Tracer) -> Any:
        began.append(1)
        try:
            return tracer.lock_sync(
                "approve",
                ask=mira,
                remind=["10m", "20m"],
                escalate=("30m", lead),
                timeout=3600,
                suspend=True,
                **more,
            )
        except TimeoutError as exc:
            return str(exc)

    run = legs(asks)
    url = run.place.database
    for name in (mira, lead):
        person(url, name)
    assert run.leg()
    assert run.row["suspended_leg"] == 0
    look(url)
    assert done(run) == [("asked", [mira])]
    with psycopg.connect(url) as connection:  # one reminder, not yet the other
        connection.execute(
            "UPDATE kodosumi.lock_plan SET due_at = now() WHERE step = 'reminded' AND number = 0"
        )
    for _ in range(2):
        look(url)
    assert done(run) == [("asked", [mira]), ("reminded", [mira])]
    assert not run.resume(), "nobody answered, and there is time"
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE kodosumi.lock_plan SET due_at = now()")
    look(url)
    assert [step for step, _ in done(run)] == ["asked", "reminded", "reminded", "escalated"]
    assert began == [1], "reminding needs no process"
    pass_hours(run, 2)
    look(url)  # the run cannot say that time is up
    (row,) = locks(url, run.fid, None)
    assert row["state"] == "expired"
    assert run.resume()
    assert not run.leg()
    final = run.recorded.final
    if expiry == "value":
        assert final == {"dict": {"approved": False}}
    else:
        assert final == {"str": IN_VAIN}
    assert len(run.recorded.of("lock")) == 1
    assert len(began) == 2
    assert len(done(run)) == 4
