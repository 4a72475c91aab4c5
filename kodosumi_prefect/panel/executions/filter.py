"""The filter of a list of executions, as its address has it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query

from kodosumi_prefect.events import Status, clean
from kodosumi_prefect.panel.web.parameters import epoch
from kodosumi_prefect.refusals import InvalidError
from kodosumi_prefect.stream.listing import Filter

LAST = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
STATUSES = tuple(str(status) for status in Status)

Words = Annotated[
    str | None,
    Query(
        max_length=1000,
        description="Words that must all begin a word of fid, name, summary, status, owner, tags, "
        "inputs.",
    ),
]
Named = Annotated[str | None, Query(max_length=1000)]


class RequestFilter(NamedTuple):
    """A filter, and the address that says it.

    Attributes:
        pairs: names and values of the query string, what is empty left out.
    """

    criteria: Filter
    pairs: list[tuple[str, str]]

    def address(self, **more: object) -> str:
        """The query string, with its question mark; empty without a filter."""
        pairs = [*self.pairs, *((name, str(value)) for name, value in more.items() if value)]
        return f"?{urlencode(pairs)}" if pairs else ""

    def values(self, name: str) -> list[str]:
        """The values of one name."""
        return [value for key, value in self.pairs if key == name]

    def value(self, name: str) -> str:
        """The one value of a name, or an empty text."""
        return next(iter(self.values(name)), "")


async def _filter(
    q: Words = None,
    status: Annotated[
        list[str], Query(max_length=20, description="Any of these; empty: all.")
    ] = [],  # noqa: B006 - FastAPI copies it
    flow: Named = None,
    owner: Annotated[
        str | None, Query(max_length=200, description="Id of an account; for operators.")
    ] = None,
    tag: Named = None,
    last: Annotated[
        Literal["hour", "day", "week", ""] | None, Query(description="A span up to now.")
    ] = None,
    since: Annotated[
        str | None,
        Query(alias="from", max_length=64, description="Recorded then or later, in ISO 8601."),
    ] = None,
    until: Annotated[
        str | None, Query(alias="to", max_length=64, description="Recorded before, in ISO 8601.")
    ] = None,
) -> RequestFilter:
    parameters = [("q", q), *(("status", one) for one in status), ("flow", flow), ("owner", owner)]
    parameters += [("tag", tag), ("last", last), ("from", since), ("to", until)]
    pairs = [(name, clean(value).strip()) for name, value in parameters if value and value.strip()]
    by_name = dict(pairs)
    for one in (value for name, value in pairs if name == "status"):
        if one not in STATUSES:
            raise InvalidError(f"status is {one[:40]!r}; it can be one of {', '.join(STATUSES)}")
    start, end = epoch("from", by_name.get("from")), epoch("to", by_name.get("to"))
    if (span := LAST.get(by_name.get("last", ""))) is not None:
        begun = (datetime.now(UTC) - span).timestamp()
        start = begun if start is None else max(begun, start)
    criteria = Filter(
        query=by_name.get("q", ""),
        statuses=tuple(dict.fromkeys(value for name, value in pairs if name == "status")),
        flow=by_name.get("flow"),
        owner=by_name.get("owner"),
        tag=by_name.get("tag"),
        since=start,
        until=end,
    )
    return RequestFilter(criteria, pairs)


FilterOfRequest = Annotated[RequestFilter, Depends(_filter)]
