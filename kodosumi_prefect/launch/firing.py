"""When a schedule fires: a cron with its time zone, or an interval."""

import json
import re
import reprlib
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, Self
from zoneinfo import available_timezones

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from pydantic import ValidationError

from kodosumi_prefect._compat.prefect_server import dates_of, known_timezones
from kodosumi_prefect.forms.bounds import fault
from kodosumi_prefect.launch.refusal import WrongRequestError

SHORTEST = 60.0  # seconds between two runs of a schedule
LONGEST = 366 * 86_400.0  # seconds
LONGEST_NAME = 200  # characters

KEYS = {"cron", "timezone", "interval", "name"}
_SPACE = re.compile(r"\s+")
_repr = reprlib.Repr()  # of what somebody sent, however deep and long
_repr.maxstring = _repr.maxlong = 200


class When(NamedTuple):
    """When runs are due.

    Attributes:
        cron: five fields, minutes first; None with an interval.
        interval: seconds; None with a cron.
        timezone: an IANA name, in which a cron's hours are meant.
        name: what people call the schedule.
    """

    cron: str | None
    interval: float | None
    timezone: str
    name: str | None = None

    @classmethod
    async def of(cls, rule: Any) -> Self:
        """Read a requested schedule.

        Raises:
            WrongRequestError: it never fires, fires too often, or is no schedule.
        """
        fields = _mapping(rule)
        zone = fields.get("timezone") or "UTC"
        name = fields.get("name")
        if not isinstance(zone, str) or zone not in timezones():
            raise WrongRequestError(
                f"timezone {_short(zone)} is not known; use a name such as Europe/Berlin"
            )
        if name is not None and (not isinstance(name, str) or len(name) > LONGEST_NAME):
            raise WrongRequestError(f"a schedule's name has at most {LONGEST_NAME} characters")
        if (wrong := fault(name)) is not None:
            raise WrongRequestError(f"a schedule's name {wrong.why}")
        cron, interval = fields.get("cron"), fields.get("interval")
        if (cron is None) == (interval is None):
            raise WrongRequestError("a schedule has either a cron or an interval in seconds")
        name = name.strip() or None if name else None
        if cron is not None:
            return cls(await _cron(cron, zone), None, zone, name)
        return cls(None, _interval(interval), zone, name)

    def schedule(self) -> CronSchedule | IntervalSchedule:
        """As Prefect expects it; intervals are counted from now."""
        if self.cron is not None:
            return CronSchedule(cron=self.cron, timezone=self.timezone)
        return IntervalSchedule(
            interval=self.interval,  # type: ignore[arg-type]
            anchor_date=datetime.now(UTC),
            timezone=self.timezone,
        )


def _mapping(rule: Any) -> dict[str, Any]:
    if isinstance(rule, str):
        try:
            rule = json.loads(rule)
        except (ValueError, RecursionError) as exc:
            reason = str(exc) if isinstance(exc, ValueError) else "it is nested too deep"
            raise WrongRequestError(
                f"a schedule is JSON, {_short(rule)} is not: {reason}"
            ) from None
    if not isinstance(rule, dict) or (unknown := rule.keys() - KEYS):
        named = ", ".join(sorted(map(str, unknown)))[:100] if isinstance(rule, dict) else ""
        what = f"has no {named}" if named else ""
        raise WrongRequestError(
            f"a schedule {what or 'is an object'}: give "
            '{"cron": …, "timezone": …} or {"interval": seconds}',
        )
    return rule


async def _cron(cron: Any, zone: str) -> str:
    if not isinstance(cron, str):
        raise WrongRequestError(f"cron is {_short(cron)}; give five fields such as 0 6 * * *")
    text = _SPACE.sub(" ", cron).strip()
    if len(text.split(" ")) != 5:
        raise WrongRequestError(
            f"cron {_short(text)} does not have five fields: minute, hour, day, month, weekday"
        )
    try:
        schedule = CronSchedule(cron=text, timezone=zone)
    except ValidationError:
        raise WrongRequestError(f"cron {_short(text)} is not valid") from None
    if not await upcoming(schedule, 1):
        raise WrongRequestError(f"cron {_short(text)} never fires; check its day and month")
    return text


async def upcoming(schedule: Any, times: int) -> list[datetime]:
    """When a schedule fires next, as Prefect's server reckons; fewer times if there are no more."""
    try:
        return await dates_of(schedule, times, datetime.now(UTC))
    except ValueError:  # croniter raises this for a cron that never fires
        return []


def _interval(interval: Any) -> float:
    if isinstance(interval, bool) or not isinstance(interval, int | float):
        raise WrongRequestError(f"interval is {_short(interval)}; give seconds")
    if not SHORTEST <= interval <= LONGEST:
        raise WrongRequestError(
            f"interval is {_short(interval)} s; give at least {SHORTEST:.0f} and at most "
            f"{LONGEST:.0f} s",
        )
    return float(interval)


@cache
def timezones() -> frozenset[str]:
    """The time zones that Python and Prefect's server both know."""
    return known_timezones(available_timezones())


def _short(value: Any) -> str:
    text = _repr.repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
