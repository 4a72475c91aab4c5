"""The filter of a list of schedules, as its address has it."""

from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query

from kodosumi_prefect.panel.schedules.actions import Row, is_paused

Paused = Literal["", "true", "false"]


class Filter(NamedTuple):
    """Which schedules are asked for.

    Attributes:
        tag: that their deployments have; empty for any.
        paused: whether they are; empty for both.
        q: words that all occur in what they run, their owner or their tags.
    """

    tag: str = ""
    paused: Paused = ""
    q: str = ""

    def matches(self, row: Row) -> bool:
        """Whether a row is asked for; what Prefect would have to say of it counts as not known."""
        if self.tag and self.tag not in row.get("tags", ()):
            return False
        if self.paused and is_paused(row) != (self.paused == "true"):
            return False
        deployment = row["deployment"]["name"]
        named = (row["summary"], row.get("flow"), deployment, row["username"], *row.get("tags", ()))
        text = " ".join(str(word) for word in named if word).casefold()
        return all(word in text for word in self.q.casefold().split())

    def address(self) -> str:
        """The query string with its question mark; empty without a filter."""
        pairs = {name: value for name, value in self._asdict().items() if value}
        return f"?{urlencode(pairs)}" if pairs else ""


async def _filter(
    tag: Annotated[
        str, Query(max_length=300, description="Only those of deployments with this tag.")
    ] = "",
    paused: Annotated[Paused, Query(description="Only those that are paused, or are not.")] = "",
    q: Annotated[
        str, Query(max_length=300, description="Words in what they run, in their owner and tags.")
    ] = "",
) -> Filter:
    return Filter(tag, paused, q)


FilterOfRequest = Annotated[Filter, Depends(_filter)]
