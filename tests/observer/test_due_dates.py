"""When runs of a schedule are due: as Prefect's server has it, without going through all times."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from kodosumi_prefect._compat.prefect_server import dates_of
from kodosumi_prefect.observer.due_dates import TooManyTimesError, first_due

YEAR = 366 * 86_400.0  # seconds
LONG_AGO = "DTSTART:19990102T030405\n"
STARTS = [  # of local time, in Berlin: both changes of the clock, and days without any
    datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 15, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 0, tzinfo=UTC),
    datetime(2026, 5, 17, 13, 59, 59, tzinfo=UTC),
]


@pytest.mark.parametrize("start", STARTS, ids=str)
@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=HOURLY;INTERVAL=7",
        "FREQ=HOURLY;BYHOUR=2,9;BYMINUTE=30",
        "DTSTART:20260101T000000\nFREQ=HOURLY;COUNT=9000",
        "FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYSECOND=5",
        "FREQ=DAILY;INTERVAL=3;COUNT=2500",
        "FREQ=DAILY;COUNT=40",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;WKST=SU",
        "FREQ=WEEKLY;BYDAY=FR;UNTIL=20260601T000000",
        "FREQ=MONTHLY;BYDAY=-1FR",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=DAILY;COUNT=3000;BYDAY=MO,TU",
        "DTSTART:20250101T000000\nRRULE:FREQ=DAILY\nEXRULE:FREQ=DAILY;INTERVAL=2",
        "DTSTART:20250101T000000\nRRULE:FREQ=DAILY\nRDATE:20260517T160000\nEXDATE:20260518T000000",
    ],
)
async def test_rules_are_due_when_prefect_makes_runs_of_them(rule: str, start: datetime) -> None:
    schedule = RRuleSchedule(rrule=rule, timezone="Europe/Berlin")
    [*dates] = await dates_of(schedule, 1, start)
    by = start.timestamp() + 5 * YEAR
    due = await first_due(schedule, start.timestamp(), by)
    assert due == (dates[0].timestamp() if dates else None)
    if due is not None:
        assert await first_due(schedule, start.timestamp(), due) == due
        assert await first_due(schedule, start.timestamp(), due - 1) is None


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("FREQ=SECONDLY", "12:00:00"),
        ("FREQ=SECONDLY;INTERVAL=40", "12:00:05"),
        ("FREQ=SECONDLY;COUNT=2000000000", "12:00:00"),
        ("FREQ=SECONDLY;COUNT=86400", None),
        ("FREQ=SECONDLY;BYMINUTE=7;BYSECOND=9", "12:07:09"),
        ("FREQ=MINUTELY;INTERVAL=5", "12:04:05"),
        ("FREQ=SECONDLY;BYHOUR=3;BYMONTH=2;BYMONTHDAY=30", None),
    ],
)
async def test_rules_by_the_second_of_long_ago_are_reckoned_at_once(
    rule: str, first: str | None
) -> None:
    """Prefect's own code goes through a thousand million seconds for these."""
    start = datetime(2026, 5, 17, 12, tzinfo=UTC)
    schedule = RRuleSchedule(rrule=LONG_AGO + rule, timezone="UTC")
    due = await first_due(schedule, start.timestamp(), (start + timedelta(days=30)).timestamp())
    assert due == (first and datetime.fromisoformat(f"2026-05-17T{first}+00:00").timestamp())


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "rule",
    [
        "RRULE:FREQ=SECONDLY;COUNT=5;BYSECOND=7",
        "RRULE:FREQ=SECONDLY\nEXRULE:FREQ=SECONDLY",
    ],
)
async def test_what_would_take_too_long_is_said_to(rule: str) -> None:
    start = datetime(2026, 5, 17, tzinfo=UTC).timestamp()
    with pytest.raises(TooManyTimesError):
        await first_due(RRuleSchedule(rrule=LONG_AGO + rule), start, start + 30 * 86_400)


async def test_other_schedules_are_reckoned_by_prefect() -> None:
    start = datetime(2026, 5, 17, tzinfo=UTC).timestamp()
    hourly = CronSchedule(cron="5 * * * *")
    assert await first_due(hourly, start, start + 300) == start + 300
    assert await first_due(hourly, start, start + 299) is None
    assert await first_due(CronSchedule(cron="0 0 30 2 *"), start, start + YEAR) is None
    anchor = datetime(1999, 1, 1, 0, 0, 1, tzinfo=UTC)
    seconds = IntervalSchedule(interval=timedelta(seconds=2), anchor_date=anchor)
    assert await first_due(seconds, start, start + 60) == start + 1
