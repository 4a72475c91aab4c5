"""Prefect's server, run in our process for what no API of it tells; read in Prefect 3.8.8."""

from datetime import datetime
from typing import Any

import pytz  # type: ignore[import-untyped]  # by which Prefect's server looks time zones up
from prefect.server.schemas import schedules


def known_timezones(names: set[str]) -> frozenset[str]:
    """Those of some time zones that the server knows."""
    return frozenset(names & pytz.all_timezones_set)


async def dates_of(schedule: Any, times: int, start: datetime) -> list[datetime]:
    """When the server makes runs of a schedule, one of ``prefect.client.schemas.schedules``.

    Raises:
        ValueError: never, in croniter's words.
    """
    mirrored = getattr(schedules, type(schedule).__name__).model_validate(schedule.model_dump())
    dates: list[datetime] = await mirrored.get_dates(times, start=start)
    return dates
