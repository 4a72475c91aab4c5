"""Reading the panel's list: pages in any order, how many there are, and when they ran."""

from collections.abc import Sequence
from typing import Any

from kodosumi_prefect.database.rows.executions import OrderPosition, RunsOverTime
from kodosumi_prefect.panel.executions.list_filter import ListFilter
from kodosumi_prefect.stream.listing import CursorError
from kodosumi_prefect.stream.reader import Reader, Visible
from kodosumi_prefect.stream.rows import ListedExecution, SearchedWord

MOST = 100_000  # executions that are sorted or counted, the newest of what matches


class Listing:
    """What somebody who may see ``visible`` is shown of the executions that match a filter."""

    def __init__(self, reader: Reader, filter_: ListFilter, visible: Visible) -> None:
        self._reader = reader
        self._filter = filter_
        self._visible = visible

    async def page(
        self, limit: int, *, before: str | None = None, after: str | None = None
    ) -> list[ListedExecution]:
        """Rows in the filter's order.

        Arguments:
            before: the last ``fid`` of the previous page.
            after: in its place the first ``fid`` of the page behind: those right above it.

        Raises:
            CursorError: there is no execution to be seen with the ``fid`` of the cursor.
        """
        at = await self._position(after or before)
        values = await self._parameters() | {"limit": limit}
        forward, descending = after is None, self._filter.descending
        down = descending if forward else not descending
        if self._filter.sort == "started":
            values |= {"at": at and at.began, "id": at and at.id}
            rows = await (
                self._reader.rows_of(ListedExecution, "list_newest", **values)
                if down
                else self._reader.rows_of(ListedExecution, "list_oldest", **values)
            )
            return rows if forward else rows[::-1]
        values |= {"sort": self._filter.sort, "cursor": after or before, "most": MOST}
        values["way"] = 1 if forward else -1
        if self._filter.sort in ("status", "duration"):
            values["sign"] = -1 if descending else 1
            rows = await (
                self._reader.rows_of(ListedExecution, "list_by_number", **values)
                if forward
                else self._reader.rows_of(ListedExecution, "list_by_number_back", **values)
            )
        elif down:
            rows = await self._reader.rows_of(ListedExecution, "list_from_z", **values)
        else:
            rows = await self._reader.rows_of(ListedExecution, "list_from_a", **values)
        return rows if forward else rows[::-1]

    async def count(self) -> int:
        """How many match; ``MOST`` if there are more."""
        [executions] = await self._reader.values(
            "count_ordered", **await self._parameters(), limit=MOST
        )
        return int(executions)

    async def matching(self, fids: Sequence[str]) -> set[str]:
        """Which of these match and are not archived."""
        if not fids:
            return set()
        values = await self._parameters()
        return set(await self._reader.values("matching_ordered", fids=list(fids), **values))

    async def over_time(self, steps: Sequence[float], bars: int) -> list[RunsOverTime]:
        """How many began when, by status, whichever statuses the filter asks for."""
        values = await self._parameters() | {"looks": None}
        return await self._reader.rows_of(
            RunsOverTime, "runs_over_time", **values, steps=list(steps), bars=bars, most=MOST
        )

    async def _position(self, fid: str | None) -> OrderPosition | None:
        if fid is None:
            return None
        rows = await self._reader.rows_of(
            OrderPosition, "order_position", fid=fid, **self._visible._asdict()
        )
        if not rows:
            raise CursorError(f"there is no execution {fid} to continue from")
        return rows[0]

    async def _parameters(self) -> dict[str, Any]:
        criteria = self._filter.criteria
        words = (
            await self._reader.rows_of(SearchedWord, "asked_words", query=criteria.query)
            if criteria.query.strip()
            else []
        )
        values = criteria.parameters(words)
        del values["status"], values["statuses"]
        return (
            values
            | self._visible._asdict()
            | {"looks": list(self._filter.looks) or None, "deployment": self._filter.deployment}
        )
