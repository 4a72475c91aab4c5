"""When a run of a schedule is first due, by its rule, with work that is bounded.

Cron and intervals are reckoned by Prefect's own server code. That goes through all times of an
RRULE since it began, which takes minutes for one "by the second" of long ago, so those are reckoned
here: from a begin that is moved near to the moment that is asked for.
"""

import asyncio
import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from dateutil import rrule  # type: ignore[import-untyped]
from prefect.client.schemas.schedules import RRuleSchedule

from kodosumi_prefect._compat.prefect_server import dates_of, rule_of

# How far apart the places of a rule's lattice are, in seconds; months and years are few.
STEPS = {
    rrule.SECONDLY: 1,
    rrule.MINUTELY: 60,
    rrule.HOURLY: 3600,
    rrule.DAILY: 86_400,
    rrule.WEEKLY: 604_800,
}
MARGIN = timedelta(hours=3)  # by which clocks may be set
MOST = 100_000  # times that are looked at
DAYS = ("bymonth", "bymonthday", "byyearday", "byweekno")  # by which rules leave out days
CYCLE = 400  # years after which the calendar is the same, weekdays included
LATER = 19 * CYCLE  # years; the most that leave room for what is reckoned before year 9999


class TooManyTimesError(ValueError):
    """A rule has more times before the moment that is asked for than are looked at."""


async def first_due(rule: object, after: float, by: float) -> float | None:
    """When a run was first due from a moment on, in epoch seconds; None for not until ``by``.

    Arguments:
        rule: one of ``prefect.client.schemas.schedules``.
        after, by: epoch seconds.

    Raises:
        TooManyTimesError: that cannot be reckoned with bounded work.
    """
    start, end = (datetime.fromtimestamp(moment, UTC) for moment in (after, by))
    if isinstance(rule, RRuleSchedule):
        # In a thread: even what is bounded may take half a second.
        return await asyncio.to_thread(_first, rule_of(rule), start, end)
    try:
        dates = await dates_of(rule, 1, start)
    except ValueError:  # croniter raises this for a cron that never fires
        return None
    return dates[0].timestamp() if dates and dates[0] <= end else None


def _first(rule: rrule.rrule | rrule.rruleset, start: datetime, end: datetime) -> float | None:
    if isinstance(rule, rrule.rrule):
        rules, dates, without, apart = [rule], [], [], []
    else:
        rules, dates, without, apart = rule._rrule, rule._rdate, rule._exrule, rule._exdate
    due = _merged(rules, dates, start, end)
    excluded = _merged(without, apart, start, end)
    last = next(excluded, None)
    for looked_at, moment in enumerate(due):
        while last is not None and last < moment:
            last = next(excluded, None)
        if start <= moment != last:
            return moment.timestamp() if moment <= end else None
        if looked_at > MOST:
            raise TooManyTimesError(f"it has more than {MOST:,} times before {start:%Y-%m-%d}")
    return None


def _merged(
    rules: Iterable[rrule.rrule], dates: Iterable[datetime], start: datetime, end: datetime
) -> Iterator[datetime]:
    """The times of rules and single ones in their order; all from the start to the end."""
    single = sorted(date.astimezone(UTC) for date in dates)
    return heapq.merge(single, *(_times(rule, start, end) for rule in rules))


def _times(rule: rrule.rrule, start: datetime, end: datetime) -> Iterator[datetime]:
    """The times of a rule between two moments, and perhaps some before."""
    if not _has_days(rule, start, end):
        return iter(())
    zone = rule._dtstart.tzinfo
    until = end.astimezone(zone) + MARGIN
    if rule._until is not None:
        until = min(until, rule._until)
    began = rule._dtstart.replace(tzinfo=None)
    ahead = (start.astimezone(zone) - MARGIN).replace(tzinfo=None) - began
    step = STEPS.get(rule._freq, 0) * rule._interval
    steps = max(int(ahead.total_seconds() // step), 0) if step else 0
    count = rule._count
    if count is not None and not any(rule._original_rule.values()):
        count = max(count - steps, 0)
    elif count is not None:  # how many of its times lie before is known to who goes through them
        if steps > MOST:
            raise TooManyTimesError(f"it has a COUNT and began {steps:,} steps ago")
        steps = 0
    moved = (began + timedelta(seconds=steps * step)).replace(tzinfo=zone)
    near = rule.replace(dtstart=moved, until=until, count=None, cache=False)
    return (moment.astimezone(UTC) for moment in islice(near, count))


def _has_days(rule: rrule.rrule, start: datetime, end: datetime) -> bool:
    """Whether the days that a rule is for are between two moments.

    Rules are gone through until a day fits, or the calendar ends. So this is asked of the same days
    near that end first, where as few as four hundred years are left.
    """
    if not any(rule._original_rule.get(name) for name in DAYS):
        return True
    zone = rule._dtstart.tzinfo
    first, last = (
        moment.astimezone(zone).replace(tzinfo=None, fold=0)
        for moment in (start - MARGIN, end + MARGIN)
    )
    days = rule.replace(
        freq=rule._freq if rule._freq in (rrule.YEARLY, rrule.MONTHLY) else rrule.YEARLY,
        dtstart=datetime(first.year + LATER, 1, 1),
        interval=1,
        count=None,
        until=None,
        bysetpos=None,
        cache=False,
        byhour=0,
        byminute=0,
        bysecond=0,
    )
    day = days.after(_later(first), inc=True)
    return day is not None and day <= _later(last)


def _later(moment: datetime) -> datetime:
    return moment.replace(year=moment.year + LATER, hour=0, minute=0, second=0, microsecond=0)
