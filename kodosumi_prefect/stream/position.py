"""Positions in the changes of a database: which transactions somebody has seen.

Transactions commit in another order than they are numbered in. A position is therefore a snapshot
as Postgres has them, and not a number: one that was still under way is not part of it, and comes
later, once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

LONGEST = 7000  # characters; a header of a request has room for them
_TEXT = re.compile(
    r"(?P<xmin>\d{1,19}):(?P<width>\d{1,19}):(?P<under_way>(\d{1,19}(,\d{1,19})*)?)"
    r"(?P<partial>(~\d{1,19}_[0-9a-fx.-]{1,60})*)",
    re.ASCII,
)
_MOST = 2**63 - 1
_EPOCH = 2**32  # Postgres has no transaction of such a number


class PositionError(ValueError):
    """The text is no position."""


@dataclass(frozen=True, slots=True)
class Position:
    """What somebody has seen.

    Attributes:
        xmin: all transactions below it are.
        xmax: none from it on is.
        under_way: those between that are not.
        partial: of transactions that are not seen wholly, the key of the last row that is.
    """

    xmin: int
    xmax: int
    under_way: frozenset[int] = frozenset()
    partial: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def parsed(cls, text: str) -> Self:
        """As ``str`` writes it.

        Raises:
            PositionError: nobody has written it so.
        """
        found = _TEXT.fullmatch(text) if len(text) <= LONGEST else None
        if found is None:
            raise PositionError(f"{text[:80]!r} is no position in the changes")
        xmin = int(found["xmin"])
        xmax = xmin + int(found["width"])
        under_way = frozenset(xmin + int(each) for each in found["under_way"].split(",") if each)
        pairs = (pair.split("_") for pair in found["partial"].split("~")[1:])
        partial = {int(xid): key for xid, key in pairs}
        if not all(each <= _MOST and each % _EPOCH for each in (xmin, xmax)) or any(
            xid >= xmax for xid in under_way
        ):
            raise PositionError(f"{text[:80]!r} is no position in the changes")
        if any(not 0 < xid <= _MOST for xid in partial):
            raise PositionError(f"{text[:80]!r} is no position in the changes")
        return cls(xmin, xmax, under_way, partial)

    @classmethod
    def of_snapshot(cls, text: str) -> Self:
        """What a snapshot sees, as Postgres writes it."""
        xmin, xmax, under_way = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, under_way.split(",")))))

    def __str__(self) -> str:
        """Short, since it goes into a header: after ``xmin`` come distances from it."""
        under_way = ",".join(str(xid - self.xmin) for xid in sorted(self.under_way))
        partial = "".join(f"~{xid}_{key}" for xid, key in sorted(self.partial.items()))
        return f"{self.xmin}:{self.xmax - self.xmin}:{under_way}{partial}"

    @property
    def snapshot(self) -> str:
        """The transactions that are seen wholly, as Postgres writes a snapshot."""
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.under_way)))}"

    def sees(self, xid: int) -> bool:
        """Whether a transaction is seen wholly."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.under_way)

    def has(self, xid: int, key: str) -> bool:
        """Whether a row is seen."""
        return self.sees(xid) or key <= self.partial.get(xid, "")

    def joined(self, other: "Position") -> "Position":
        """What either has seen."""
        under_way = frozenset(
            xid
            for xid in self.under_way | other.under_way
            if not self.sees(xid) and not other.sees(xid)
        )
        xmax = max(self.xmax, other.xmax)
        whole = Position(min(under_way, default=xmax), xmax, under_way)
        partial = {
            xid: max(self.partial.get(xid, ""), other.partial.get(xid, ""))
            for xid in self.partial.keys() | other.partial.keys()
            if not whole.sees(xid)
        }
        return Position(whole.xmin, xmax, under_way, partial)

    def at(self, target: "Position", xid: int, key: str) -> "Position":
        """On the way to ``target``, in the order of transactions and keys, behind one row."""
        under_way = frozenset(each for each in target.under_way if each < xid)
        before = Position(min(under_way, default=xid), xid, under_way)
        return self.joined(Position(before.xmin, before.xmax, under_way, {xid: key}))


START = Position(1, 1)  # nothing is seen
