"""When a schedule would fire, in words and times that people check before they save it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, time
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from kodosumi_prefect.launch.firing import When, timezones, upcoming
from kodosumi_prefect.launch.refusal import WrongRequestError
from kodosumi_prefect.panel.schedules.rule_words import cron_words, interval_words

NEXT_TIMES = 5  # times
PREFIX = "kodosumi."  # of the fields about a schedule, which stand beside those of any service
AGAIN_OF = PREFIX + "again_of"  # the execution whose inputs the form was filled in with
KEY = PREFIX + "key"  # of the form as it was shown: submitted twice, it is one launch
# How often a regular schedule fires, and the cron of each; weekdays as cron counts them.
OFTEN = {
    "hour": ("hour", "{minute} * * * *"),
    "day": ("day", "{minute} {hour} * * *"),
    "workday": ("working day, Monday to Friday", "{minute} {hour} * * 1-5"),
    "week": ("week", "{minute} {hour} * * {weekday}"),
    "month": ("month", "{minute} {hour} {day} * *"),
}
WEEKDAYS = {
    "1": "Monday",
    "2": "Tuesday",
    "3": "Wednesday",
    "4": "Thursday",
    "5": "Friday",
    "6": "Saturday",
    "0": "Sunday",
}
UNITS = {"minutes": 60, "hours": 3600, "days": 86_400}  # seconds


class Moments(NamedTuple):
    """When runs are due: in words, and the next times in the chosen zone."""

    words: str
    times: list[datetime]
    timezone: str


class Typed(NamedTuple):
    """What somebody typed to schedule something, wrong or not."""

    repeat: str = "regularly"
    cron: str = "0 8 * * 1"
    every: str = "1"
    unit: str = "hours"
    timezone: str = "UTC"
    name: str = ""
    often: str = "week"
    weekday: str = "1"
    day: str = "1"
    at: str = "08:00"

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Typed":
        """From fields with or without our prefix; the first values for what is missing."""
        named = {str(key).removeprefix(PREFIX): str(value) for key, value in fields.items()}
        known = {key: named[key].strip()[:1000] for key in cls._fields if key in named}
        if "repeat" not in known and "cron" in known:
            known["repeat"] = "cron"
        return cls(**known)

    def as_json(self) -> str:
        """As the JSON API takes it.

        Raises:
            WrongRequestError: the interval is no number, or the time no time of day.
        """
        schedule: dict[str, Any] = {"timezone": self.timezone or "UTC", "name": self.name or None}
        if self.repeat == "regularly":
            return json.dumps(schedule | {"cron": self._regular()})
        if self.repeat != "interval":
            return json.dumps(schedule | {"cron": self.cron})
        try:
            every = float(self.every)
            schedule["interval"] = every * UNITS[self.unit]
        except (ValueError, KeyError):
            raise WrongRequestError(
                f"{self.every[:40]!r} {self.unit[:20]} is not an interval; give a number"
            ) from None
        return json.dumps(schedule)

    def _regular(self) -> str:
        """The cron of what was chosen without one."""
        try:
            at = time.fromisoformat(self.at)
        except ValueError:
            raise WrongRequestError(
                f"{self.at[:40]!r} is not a time of day; give one such as 08:00"
            ) from None
        if self.often not in OFTEN or self.weekday not in WEEKDAYS or not _is_day(self.day):
            raise WrongRequestError(
                f"there is nothing regular in {self.often[:20]!r}, weekday {self.weekday[:20]!r}, "
                f"day {self.day[:20]!r}; choose from what the form offers"
            )
        rule = OFTEN[self.often][1]
        return rule.format(minute=at.minute, hour=at.hour, weekday=self.weekday, day=self.day)


def _is_day(text: str) -> bool:
    return text.isdecimal() and text.isascii() and 1 <= int(text) <= 31


async def moments(typed: Typed) -> Moments:
    """The next times of what was typed.

    Raises:
        WrongRequestError: it never fires, or is no schedule; in one line.
    """
    when = await When.of(typed.as_json())
    times = await upcoming(when.schedule(), NEXT_TIMES + 1)
    now, zone = datetime.now(UTC), ZoneInfo(when.timezone)
    ahead = [moment.astimezone(zone) for moment in times if moment > now][:NEXT_TIMES]
    if when.interval is not None:
        words = interval_words(when.interval)
    else:
        words = cron_words(str(when.cron)) or f"By cron {when.cron}"
    return Moments(words, ahead, when.timezone)


@cache
def zones() -> list[str]:
    """Time zones as people look for them."""
    odd = ("Etc/", "posix/", "right/", "SystemV/", "US/")
    named = (zone for zone in timezones() if "/" in zone and not zone.startswith(odd))
    return ["UTC", *sorted(named)]
