"""Positions: what is seen of transactions that commit in any order."""

from itertools import product

import pytest

from kodosumi_prefect.stream.position import LONGEST, START, Position, PositionError

KEYS = ("a", "b", "c")


def test_a_position_is_read_as_it_was_written() -> None:
    for position in (
        START,
        Position(12, 12),
        Position(10, 20, frozenset({10, 14})),
        Position(10, 20, frozenset({10}), {10: "000000000000002a", 25: "x0-9.a"}),
    ):
        assert Position.parsed(str(position)) == position
        if not position.partial:
            assert Position.of_snapshot(position.snapshot) == position


@pytest.mark.parametrize(
    "text",
    [
        *("", "7", "7:", "a:0:", "0:0:", "7:2:5", "7:2:1~", "7:2:1~0_a", "7:2:1~8_A", "٧:2:"),
        *("7:0:" + "0," * LONGEST, "9999999999999999999:1:", "7:2:1\n", "-1:0:", f"{2**32}:0:"),
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(PositionError):
        Position.parsed(text)


def small_positions() -> list[Position]:
    """All over transactions 1 to 4, some with a part of one of them."""
    found = []
    for seen in product((False, True), repeat=4):
        xids = [xid for xid, one in enumerate(seen, 1) if one]
        xmax = max(xids, default=0) + 1
        under_way = frozenset(range(1, xmax)) - set(xids)
        for partial in ({}, {2: "b"}, {3: "a"}):
            kept = {xid: key for xid, key in partial.items() if xid not in xids}
            found.append(Position(min(under_way, default=xmax), xmax, under_way, kept))
    return found


def rows(position: Position) -> set[tuple[int, str]]:
    """The rows that it has, of transactions 1 to 5."""
    return {(xid, key) for xid in range(1, 6) for key in KEYS if position.has(xid, key)}


def test_joined_positions_have_what_either_has_and_nothing_else() -> None:
    for one, other in product(small_positions(), repeat=2):
        both = one.joined(other)
        assert rows(both) == rows(one) | rows(other)
        assert Position.parsed(str(both)) == both


def test_a_row_on_the_way_leaves_what_was_had_and_what_comes_before_it() -> None:
    for one, target in product(small_positions(), repeat=2):
        for xid, key in rows(target) - rows(one):
            if not target.sees(xid):
                continue
            whole = {row for row in rows(target) if row < (xid, key) and target.sees(row[0])}
            assert rows(one.at(target, xid, key)) >= rows(one) | whole | {(xid, key)}
            between = rows(one.at(target, xid, key)) - rows(one) - whole - {(xid, key)}
            assert between == set(), (one, target, xid, key)
