"""What the panel's list shows: its filter and order, as its address has them.

Beside what programs filter by (see ``filter.py``) it knows what people say: that a run was
cancelled, what its deployment is called, and last night.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Depends, Query

from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.executions.filter import STATUSES, Named, Words
from kodosumi_prefect.panel.executions.headings import CANCELLED
from kodosumi_prefect.panel.web.parameters import epoch
from kodosumi_prefect.refusals import InvalidError
from kodosumi_prefect.stream.listing import Filter

LOOKS = (*STATUSES, CANCELLED)  # what a run's status is to people
SPANS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
PRESETS = {
    "hour": "Last hour",
    "day": "Last 24 h",
    "today": "Today",
    "night": "Last night",
    "yesterday": "Yesterday",
    "week": "Last 7 days",
    "month": "Last 30 days",
}
NIGHT = (timedelta(hours=-6), timedelta(hours=8))  # from 18:00 of the day before until 8:00
SORTS = {
    "started": "Started",
    "duration": "Duration",
    "status": "Status",
    "name": "Name",
    "flow": "Flow",
    "owner": "Owner",
}
DESCENDING_FIRST = ("started", "duration")  # what is looked for most is at that end
DEFAULT_SORT = "-started"
# What people write into a search that the filter has a field for.
PHRASES = (
    (re.compile(r"\blast night\b", re.I), ("last", "night")),
    (re.compile(r"\byesterday\b", re.I), ("last", "yesterday")),
    (re.compile(r"\btoday\b", re.I), ("last", "today")),
    (re.compile(r"\blast hour\b", re.I), ("last", "hour")),
    (re.compile(r"\blast (24 ?h|24 hours|day)\b", re.I), ("last", "day")),
    (re.compile(r"\blast week\b", re.I), ("last", "week")),
    (re.compile(r"\bfailed\b", re.I), ("status", "error")),
    (re.compile(r"\bcancell?ed\b", re.I), ("status", CANCELLED)),
)


class ListFilter(NamedTuple):
    """What the list shows, and the address that says it.

    Attributes:
        criteria: what ``Filter`` knows; its statuses are not used.
        looks: any of these statuses as people read them; none means all.
        deployment: by its name.
        sort: what it is sorted by, of ``SORTS``.
        descending: the largest, newest or last of the alphabet first.
        pairs: names and values of the filter in the query string, what is empty left out.
    """

    criteria: Filter
    looks: tuple[str, ...]
    deployment: str | None
    sort: str
    descending: bool
    pairs: list[tuple[str, str]]

    def address(self, **more: object) -> str:
        """The query string, with its question mark; empty without a filter in the usual order."""
        pairs = [*self.pairs, *self._order(self.sort, self.descending)]
        return _query([*pairs, *((name, str(value)) for name, value in more.items() if value)])

    def without(self, *names: str) -> str:
        """As ``address``, some conditions left out."""
        pairs = [pair for pair in self.pairs if pair[0] not in names]
        return _query([*pairs, *self._order(self.sort, self.descending)])

    def without_value(self, name: str, value: str) -> str:
        """As ``address``, one value of one condition left out."""
        pairs = [pair for pair in self.pairs if pair != (name, value)]
        return _query([*pairs, *self._order(self.sort, self.descending)])

    def with_only(self, **given: str) -> str:
        """As ``address``, these conditions in place of what they were."""
        pairs = [pair for pair in self.pairs if pair[0] not in given]
        pairs += [(name, value) for name, value in given.items() if value]
        return _query([*pairs, *self._order(self.sort, self.descending)])

    def within(self, since: str, until: str) -> str:
        """As ``address``, of another span of time."""
        pairs = [pair for pair in self.pairs if pair[0] not in ("last", "zone", "from", "to")]
        pairs += [("from", since), ("to", until)]
        return _query([*pairs, *self._order(self.sort, self.descending)])

    def sorted_by(self, sort: str) -> str:
        """As ``address``, sorted by something else; in the other direction if it already is."""
        descending = sort in DESCENDING_FIRST
        if sort == self.sort:
            descending = not self.descending
        return _query([*self.pairs, *self._order(sort, descending)])

    def values(self, name: str) -> list[str]:
        """The values of one name."""
        return [value for key, value in self.pairs if key == name]

    def value(self, name: str) -> str:
        """The one value of a name, or an empty text."""
        return next(iter(self.values(name)), "")

    def said(self) -> Iterator[tuple[str, str]]:
        """Each condition in words, and the address of the list without it."""
        for name, value in self.pairs:
            if name == "zone":
                continue
            words = {"q": f"“{value}”", "last": PRESETS.get(value, value).lower()}
            words |= {"status": value, "from": f"since {value}", "to": f"until {value}"}
            dropped = self.without(name, "zone") if name == "last" else None
            yield words.get(name, f"{name} {value}"), dropped or self.without_value(name, value)

    def spelled_out(self) -> str | None:
        """The address where the search says what the filter has a field for, if it does."""
        text, pairs = self.value("q"), [pair for pair in self.pairs if pair[0] != "q"]
        if '"' in text:
            return None
        for phrase, (name, value) in PHRASES:
            if phrase.search(text) and (name == "status" or name not in dict(pairs)):
                text = phrase.sub(" ", text)
                pairs += [] if (name, value) in pairs else [(name, value)]
        text = " ".join(re.sub(r"\b(that|which)\s*$", " ", text.strip()).split())
        if text == " ".join(self.value("q").split()):
            return None
        return _query([*([("q", text)] if text else []), *pairs])

    @staticmethod
    def _order(sort: str, descending: bool) -> list[tuple[str, str]]:
        order = f"-{sort}" if descending else sort
        return [] if order == DEFAULT_SORT else [("sort", order)]


def _query(pairs: list[tuple[str, str]]) -> str:
    return f"?{urlencode(pairs)}" if pairs else ""


async def _list_filter(
    q: Words = None,
    status: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006 - FastAPI copies it
    flow: Named = None,
    deployment: Named = None,
    owner: Annotated[str | None, Query(max_length=200)] = None,
    tag: Named = None,
    last: Annotated[str | None, Query(max_length=20)] = None,
    zone: Annotated[str | None, Query(max_length=64)] = None,
    since: Annotated[str | None, Query(alias="from", max_length=64)] = None,
    until: Annotated[str | None, Query(alias="to", max_length=64)] = None,
    sort: Annotated[str | None, Query(max_length=20)] = None,
) -> ListFilter:
    parameters = [("q", q), *(("status", one) for one in status), ("flow", flow)]
    parameters += [("deployment", deployment), ("owner", owner), ("tag", tag)]
    parameters += [("last", last), ("zone", zone if last or q else None)]
    parameters += [("from", since), ("to", until)]
    pairs = [(name, clean(value).strip()) for name, value in parameters if value and value.strip()]
    by_name = dict(pairs)
    looks = tuple(dict.fromkeys(value for name, value in pairs if name == "status"))
    _known("status", looks, LOOKS)
    _known("last", [by_name["last"]] if "last" in by_name else [], tuple(PRESETS))
    order = (sort or "").strip() or DEFAULT_SORT
    _known("sort", [order.removeprefix("-")], tuple(SORTS))
    start, end = epoch("from", by_name.get("from")), epoch("to", by_name.get("to"))
    if preset := by_name.get("last"):
        begun, over = span(preset, datetime.now(_zone(by_name.get("zone"))))
        start = begun if start is None else max(begun, start)
        end = over if end is None else min(end, over or end)
    criteria = Filter(
        query=by_name.get("q", ""),
        flow=by_name.get("flow"),
        owner=by_name.get("owner"),
        tag=by_name.get("tag"),
        since=start,
        until=end,
    )
    return ListFilter(
        criteria,
        looks,
        by_name.get("deployment"),
        order.removeprefix("-"),
        order.startswith("-"),
        pairs,
    )


def span(preset: str, now: datetime) -> tuple[float, float | None]:
    """When a span of ``PRESETS`` begins and ends, epoch seconds; None: it goes on."""
    if preset in SPANS:
        return (now - SPANS[preset]).timestamp(), None
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if preset == "today":
        return midnight.timestamp(), None
    if preset == "yesterday":
        return (midnight - timedelta(days=1)).timestamp(), midnight.timestamp()
    return (midnight + NIGHT[0]).timestamp(), (midnight + NIGHT[1]).timestamp()


def _zone(name: str | None) -> tzinfo:
    """The reader's zone, by its IANA name."""
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidError(f"zone is {name[:40]!r}, which is no time zone") from exc


def _known(name: str, values: tuple[str, ...] | list[str], known: tuple[str, ...]) -> None:
    for value in values:
        if value not in known:
            raise InvalidError(f"{name} is {value[:40]!r}; it can be one of {', '.join(known)}")


ListFilterOfRequest = Annotated[ListFilter, Depends(_list_filter)]
