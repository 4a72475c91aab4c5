"""The filter of the audit as the address has it, and reading the entries."""

from collections.abc import AsyncIterator
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query

from kodosumi_prefect.database.rows.audit import StoredAuditEntry
from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.audit.entry import cut
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.web.parameters import epoch
from kodosumi_prefect.refusals import InvalidError
from kodosumi_prefect.stream.reader import Reader

EXPORTED = 500  # entries read at once for an export
MAX_ID = 2**63 - 1

Named = Annotated[str | None, Query(max_length=1000)]


class Filter(NamedTuple):
    """Which entries; None for any.

    Attributes:
        actor: id or name of who did it.
        target: id or name of what it was done to.
        since, until: epoch seconds.
        pairs: the filter as names and values of a query string.
    """

    actor: str | None
    actions: list[str] | None
    target: str | None
    outcome: str | None
    since: float | None
    until: float | None
    pairs: list[tuple[str, str]]

    def address(self, **more: object) -> str:
        """The query string with its question mark; empty without a filter."""
        pairs = [*self.pairs, *((name, str(value)) for name, value in more.items() if value)]
        return f"?{urlencode(pairs)}" if pairs else ""

    def value(self, name: str) -> str:
        """The filter's value of a name, or an empty text."""
        return next((value for key, value in self.pairs if key == name), "")

    async def page(self, reader: Reader, before: int | None, limit: int) -> list[StoredAuditEntry]:
        """Entries, newest first, behind the id ``before``."""
        columns = {name: value for name, value in self._asdict().items() if name != "pairs"}
        return await reader.rows_of(
            StoredAuditEntry, "audit", **columns, before=before, limit=limit
        )

    async def all(self, reader: Reader) -> AsyncIterator[list[StoredAuditEntry]]:
        """All entries, newest first, a few at a time."""
        before = None
        while rows := await self.page(reader, before, EXPORTED):
            yield rows
            before = rows[-1].id


async def _filter(
    actor: Annotated[
        str | None, Query(max_length=1000, description="Id or name of who did it.")
    ] = None,
    action: Annotated[
        list[str], Query(max_length=50, description="Any of these; empty: all.")
    ] = [],  # noqa: B006 - FastAPI copies it
    target: Annotated[
        str | None, Query(max_length=2000, description="Id or name of its target.")
    ] = None,
    outcome: Annotated[
        str | None, Query(max_length=20, description="`ok`, `refused` or `failed`.")
    ] = None,
    since: Annotated[
        str | None, Query(max_length=64, description="Recorded then or later, in ISO 8601.")
    ] = None,
    until: Annotated[
        str | None, Query(max_length=64, description="Recorded before, in ISO 8601.")
    ] = None,
) -> Filter:
    parameters = [("actor", actor), *(("action", one) for one in action), ("target", target)]
    parameters += [("outcome", outcome), ("since", since), ("until", until)]
    pairs = [(name, clean(value).strip()) for name, value in parameters if value and value.strip()]
    by_name = dict(pairs)
    actions = [value for name, value in pairs if name == "action"]
    for name, values, known in (
        ("action", actions, list(Action)),
        ("outcome", [by_name["outcome"]] if "outcome" in by_name else [], list(Outcome)),
    ):
        for value in values:
            if value not in known:
                raise InvalidError(f"{name} is {value[:40]!r}; it can be one of {', '.join(known)}")
    return Filter(
        cut(by_name.get("actor")),
        actions or None,
        cut(by_name.get("target")),
        by_name.get("outcome"),
        epoch("since", by_name.get("since")),
        epoch("until", by_name.get("until")),
        pairs,
    )


FilterOfRequest = Annotated[Filter, Depends(_filter)]
