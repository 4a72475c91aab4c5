"""Schedules that fell silent: told once for each silence, by the times at which runs were due."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from prefect.settings import temporary_settings

from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.silences import Silences
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from tests.outbox.test_delivering import Hook
from tests.outbox.test_outbox import deliveries, listen, outbox
from tests.panel.panel_runs import Run
from tests.prefect_http import ask_prefect
from tests.services import in_force
from tests.spooler.recording import execute

HOUR = 3600.0  # seconds


@pytest.fixture
def prefect(prefect_server: str) -> Iterator[str]:
    with temporary_settings(in_force(prefect_server)):
        yield prefect_server


@pytest.fixture
def schedule(prefect: str) -> Iterator[str]:
    """The id of a schedule that fires every hour, of a deployment that nobody executes."""
    flow = ask_prefect("POST", f"{prefect}/flows/", json={"name": f"s-{uuid4().hex[:8]}"}).json()
    rule = {"schedule": {"cron": "0 * * * *", "timezone": "UTC"}, "active": True}
    body = {"name": "nightly", "flow_id": flow["id"], "schedules": [rule]}
    made = ask_prefect("POST", f"{prefect}/deployments/", json=body).raise_for_status().json()
    yield made["schedules"][0]["id"]
    ask_prefect("DELETE", f"{prefect}/deployments/{made['id']}")


@pytest.fixture
def look(reader: Reader, settings: Settings, prefect: str) -> Callable[[float], Any]:
    async def look_after(seconds: float, **changed: Any) -> None:
        used = settings.model_copy(update=changed)
        async with Api() as api:
            await Silences(used, reader, api, lambda: time.time() + seconds).look()

    return look_after


def ours(url: str, schedule: str, owner: str = "") -> None:
    execute(
        url,
        "INSERT INTO kodosumi.schedule (id, deployment_id, owner, summary)"
        f" VALUES ('{schedule}', gen_random_uuid(), nullif('{owner}', ''), 'Nightly report')",
    )


def ran(url: str, schedule: str, after: float, end: str = "finish") -> None:
    """A run of the schedule that began and ended so many seconds from now."""
    run = Run(url).begin()
    getattr(run, end)()
    run.close()
    execute(
        url,
        f"UPDATE kodosumi.execution SET schedule_id = '{schedule}',"
        f" started_at = now() + interval '{after} s' WHERE fid = '{run.fid}'",
    )


def silent(url: str) -> list[str]:
    return [row["facts"]["why"] for row in outbox(url) if row["kind"] == "execution.silent"]


async def test_a_schedule_without_a_run_is_told_once_for_each_silence(
    database: str, schedule: str, look: Any, hook: Hook, ann: str
) -> None:
    listen(database)
    await hook("execution.silent")
    await asyncio.to_thread(ours, database, schedule, ann)
    await look(0)
    assert silent(database) == []
    for _ in range(2):
        await look(2 * HOUR)
    assert silent(database) == ["no_run"]
    [row] = outbox(database)
    assert (row["facts"]["title"], row["facts"]["schedule"]) == ("Nightly report", schedule)
    assert deliveries(database) == [("mine", "execution.silent")]
    await asyncio.to_thread(ran, database, schedule, 2 * HOUR)
    await look(2 * HOUR + 60)
    assert silent(database) == ["no_run"]
    await look(4 * HOUR)
    assert silent(database) == ["no_run", "no_run"]


async def test_a_clock_that_is_set_back_tells_no_silence_again(
    database: str, schedule: str, look: Any
) -> None:
    listen(database)
    await asyncio.to_thread(ours, database, schedule)
    for hours in (2, 0, 2):
        await look(hours * HOUR)
        assert silent(database) == ["no_run"]


async def test_a_schedule_of_which_no_run_succeeds_for_a_day_is_told(
    database: str, schedule: str, look: Any
) -> None:
    listen(database)
    await asyncio.to_thread(ours, database, schedule)
    await asyncio.to_thread(ran, database, schedule, 0)
    await asyncio.to_thread(ran, database, schedule, 23.5 * HOUR, "fail")
    await look(23.6 * HOUR)
    assert silent(database) == []
    await asyncio.to_thread(ran, database, schedule, 26 * HOUR, "fail")
    for _ in range(2):
        await look(26.1 * HOUR)
    assert silent(database) == ["no_success"]
    await look(26.1 * HOUR, silent_hours=0.0)
    await look(60 * HOUR, silent_minutes=0.0, silent_hours=100.0)
    assert silent(database) == ["no_success"]


async def test_a_rule_that_takes_too_long_to_reckon_is_named_once_and_holds_up_no_other(
    database: str,
    schedule: str,
    prefect: str,
    reader: Reader,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    listen(database)
    await asyncio.to_thread(ours, database, schedule)
    deployments = ask_prefect("POST", f"{prefect}/deployments/filter", json={"limit": 200}).json()
    [of] = [one["id"] for one in deployments for s in one["schedules"] if s["id"] == schedule]
    rule = {"rrule": "DTSTART:19990101T000000\nRRULE:FREQ=SECONDLY;COUNT=9;BYSECOND=7"}
    path = f"{prefect}/deployments/{of}/schedules"
    body = [{"schedule": rule | {"timezone": "UTC"}, "active": True}]
    [made] = ask_prefect("POST", path, json=body).raise_for_status().json()
    await asyncio.to_thread(ours, database, made["id"])
    async with Api() as api:
        silences = Silences(settings, reader, api, lambda: time.time() + 2 * HOUR)
        for _ in range(2):
            await silences.look()
    assert silent(database) == ["no_run"]
    [line] = [line for line in caplog.messages if made["id"] in line]
    assert "is not watched for silence: it has a COUNT and began" in line


async def test_a_run_that_is_under_way_is_no_silence(
    database: str, schedule: str, look: Any
) -> None:
    listen(database)
    await asyncio.to_thread(ours, database, schedule)
    run = Run(database).begin()
    execute(database, f"UPDATE kodosumi.execution SET schedule_id = '{schedule}'")
    await look(100 * HOUR)
    assert silent(database) == []
    run.close()


async def test_schedules_that_are_paused_or_not_observed_are_not_told(
    database: str, schedule: str, look: Any, prefect: str
) -> None:
    listen(database)
    await look(100 * HOUR)  # nothing of it was ever recorded here
    assert silent(database) == []
    await asyncio.to_thread(ours, database, schedule)
    deployment = ask_prefect("POST", f"{prefect}/deployments/filter", json={"limit": 200}).json()
    [of] = [one["id"] for one in deployment for s in one["schedules"] if s["id"] == schedule]
    ask_prefect("POST", f"{prefect}/deployments/{of}/pause_deployment").raise_for_status()
    await look(100 * HOUR)
    assert silent(database) == []
