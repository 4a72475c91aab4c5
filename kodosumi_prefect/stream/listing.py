"""What lists of executions are narrowed down to."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kodosumi_prefect.stream.rows import SearchedWord

OWNER, TAG = "\x01o", "\x01t"  # before what is found as a whole only; see migration 0005
LONGEST = 200  # characters of an owner or tag that are compared
NOTHING = "'\x01'"  # a search that finds nothing


class CursorError(ValueError):
    """There is no execution to page on from."""


class Filter(NamedTuple):
    """Which executions a list shows; all conditions must hold.

    Attributes:
        query: words that must all begin a word of fid, flow name, summary, status, owner's name,
            tags, or of the first 4,000 characters of the inputs; upper and lower case alike.
        statuses: any of these; none means all.
        flow: name of the flow.
        owner: id of the account.
        tag: one of its tags.
        since, until: when the execution was recorded first, epoch seconds; ``until`` excluded.
    """

    query: str = ""
    statuses: Sequence[str] = ()
    flow: str | None = None
    owner: str | None = None
    tag: str | None = None
    since: float | None = None
    until: float | None = None

    def parameters(self, words: Iterable[SearchedWord]) -> dict[str, Any]:
        """Values for the queries that narrow down.

        Arguments:
            words: of ``query``, as the database splits it, each with the ids of accounts that have
                such a name.
        """
        one = len(self.statuses) == 1
        return {
            "of": self.owner,
            "status": self.statuses[0] if one else None,  # by itself, an index brings the order
            "statuses": None if one or not self.statuses else list(self.statuses),
            "flow": self.flow,
            "since": self.since,
            "until": self.until,
            "search": self._search(words),
        }

    def _search(self, words: Iterable[SearchedWord]) -> str | None:
        """The ``tsquery``; None if nothing is searched."""
        parts = [
            " | ".join([f"{_quoted(one.word)}:*", *(_quoted(OWNER + id_) for id_ in one.owners)])
            for one in words
        ]
        if self.query.strip() and not parts:
            return NOTHING  # nothing but punctuation
        if self.tag is not None:
            parts.append(_quoted(TAG + self.tag[:LONGEST]))
        return " & ".join(f"({part})" for part in parts) or None


EVERY = Filter()


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"
