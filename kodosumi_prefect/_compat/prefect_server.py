"""Prefect's server, run in our process for what no API of it tells; read in Prefect 3.8.8."""

from datetime import datetime
from typing import Any

import pytz  # type: ignore[import-untyped]  # by which Prefect's server looks time zones up
from dateutil.rrule import rrule, rruleset  # type: ignore[import-untyped]
from prefect.client.schemas.schedules import RRuleSchedule
from prefect.server.schemas import schedules


def known_timezones(names: set[str]) -> frozenset[str]:
    """Those of some time zones that the server knows."""
    return frozenset(names & pytz.all_timezones_set)


async def dates_of(schedule: Any, times: int, start: datetime) -> list[datetime]:
    """When the server makes runs of a schedule, one of ``prefect.client.schemas.schedules``.

    Raises:
        ValueError: never, in croniter's words.
    """
    dates: list[datetime] = await _of_server(schedule).get_dates(times, start=start)
    return dates


def rule_of(schedule: RRuleSchedule) -> rrule | rruleset:
    """The rule of a schedule as the server has it, in the time zone of the schedule."""
    rule: rrule | rruleset = _of_server(schedule).to_rrule()
    return rule


def _of_server(schedule: Any) -> Any:
    return getattr(schedules, type(schedule).__name__).model_validate(schedule.model_dump())
