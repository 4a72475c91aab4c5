"""What becomes of any Python value on its way into the stream."""

import dataclasses
import enum
import json
import random
import time
from collections import namedtuple
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict

from kodosumi_prefect.events import (
    DROPPABLE_KINDS,
    MAIN_KINDS,
    MAX_PARTS,
    Kind,
    clean,
    plain,
    serialize,
)


def envelope(value: Any) -> Any:
    """The stored envelope, read back by a strict reader as Postgres and browsers are."""
    text = serialize(value)
    text.encode()
    assert "\x00" not in text

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class City(BaseModel):
    name: str
    people: int = 0


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


@dataclasses.dataclass
class Point:
    x: int
    label: Any = None


Pair = namedtuple("Pair", "left right")


class Plain:
    def __init__(self) -> None:
        self.shown = 1
        self._hidden = 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", {"str": "text"}),
        (1, {"int": 1}),
        (1.5, {"float": 1.5}),
        (True, {"bool": True}),
        (None, {"TypeError": "None"}),
        ({"a": [1, {"b": None}]}, {"dict": {"a": [1, {"b": None}]}}),
        ([1, "a", {"b": 2}], {"__list__": [{"int": 1}, {"str": "a"}, {"dict": {"b": 2}}]}),
        ((1,), {"__list__": [{"int": 1}]}),
        (City(name="Rome", people=3), {"City": {"name": "Rome", "people": 3}}),
        (Open(name="Rome", more=1), {"Open": {"name": "Rome", "more": 1}}),
        ([City(name="Rome")], {"__list__": [{"City": {"name": "Rome", "people": 0}}]}),
        (Point(1, Point(2)), {"Point": {"x": 1, "label": {"x": 2, "label": None}}}),
        (Pair(1, [2]), {"Pair": {"left": 1, "right": [2]}}),
        ({"pair": Pair(1, 2)}, {"dict": {"pair": {"left": 1, "right": 2}}}),
        (Plain(), {"Plain": {"shown": 1}}),
        (Colour.RED, {"Colour": "Colour.RED"}),
        ({"c": Colour.RED, "l": Level.HIGH}, {"dict": {"c": "red", "l": 3}}),
        (b"\x00\xff", {"TypeError": "b'\\x00\\xff'"}),
        (Decimal("1.10"), {"TypeError": "1.10"}),
        (datetime(2026, 1, 2, tzinfo=UTC), {"TypeError": "2026-01-02 00:00:00+00:00"}),
        ({"d": date(2026, 1, 2)}, {"dict": {"d": "2026-01-02"}}),
        ({"p": Path("/a")}, {"dict": {"p": "/a"}}),
        ({1: "a", None: "b", (2, 3): "c"}, {"dict": {"1": "a", "None": "b", "(2, 3)": "c"}}),
        ({"s": {1}}, {"dict": {"s": [1]}}),
        ([None, {1}], {"__list__": [{"TypeError": "None"}, {"TypeError": "{1}"}]}),
        (ValueError("no"), {"ValueError": "no"}),
        (UUID(int=7), {"UUID": str(UUID(int=7))}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_stored_in_kodosumis_envelope(value: Any, expected: Any) -> None:
    assert envelope(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\x00b", {"str": "a␀b"}),
        ("a\ud800b", {"str": "a�b"}),
        ("naïve \U0001f600 \x00", {"str": "naïve \U0001f600 ␀"}),
        ({"k\x00": "\udfff"}, {"dict": {"k␀": "�"}}),
        ([float("nan"), float("inf")], {"__list__": [{"float": "NaN"}, {"float": "Infinity"}]}),
        ({"x": float("-inf")}, {"dict": {"x": "-Infinity"}}),
    ],
    ids=repr,
)
def test_what_postgres_and_json_cannot_hold_is_replaced_readably(value: Any, expected: Any) -> None:
    assert envelope(value) == expected


def test_clean_text_is_left_alone() -> None:
    for text in ("", "plain", "naïve ␀ � \U0001f600", "tab\tnew\nline"):
        assert clean(text) == text


def test_huge_integers_are_kept_digit_by_digit() -> None:
    huge = 10**5000
    assert int(envelope({"n": huge})["dict"]["n"], 16) == huge
    assert envelope(10**4000) == {"int": 10**4000}


def test_ten_megabytes_are_kept_whole_and_soon() -> None:
    text = "ü" * 5_000_000
    began = time.monotonic()
    assert envelope(text) == {"str": text}
    assert time.monotonic() - began < 5


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("will not say")

    __repr__ = __str__


class Hostile(Silent):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"will not show {name}")


class HostileDict(dict[str, int]):
    def items(self) -> Any:
        raise OSError("gone")


class HostileModel(BaseModel):
    value: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "value":
            raise ValueError("will not show")
        return super().__getattribute__(name)

    def __str__(self) -> str:
        raise ValueError("will not say")

    __repr__ = __str__


@pytest.mark.parametrize("refusing", [Silent, Hostile, HostileDict, HostileModel])
def test_objects_that_refuse_become_a_note_that_names_them(refusing: Any) -> None:
    value = refusing()
    found = envelope(value)
    assert list(found) == ["dict" if refusing is HostileDict else refusing.__name__]
    assert envelope({"beside": "kept", "it": value})["dict"]["beside"] == "kept"
    assert isinstance(plain(value), str)


def test_a_silent_object_in_plain_text_is_named() -> None:
    assert plain(Silent()) == "<Silent without text: its __str__ raised RuntimeError>"


def test_cycles_end_where_they_begin_and_the_rest_is_kept() -> None:
    ring: list[Any] = ["kept"]
    ring.append(ring)
    assert envelope(ring) == {"__list__": [{"str": "kept"}, {"list": "<list: itself>"}]}
    loop: dict[str, Any] = {"kept": 1}
    loop["self"] = [loop]
    assert envelope(loop) == {"dict": {"kept": 1, "self": ["<dict: itself>"]}}
    point = Point(1)
    point.label = point
    assert envelope({"p": point}) == {"dict": {"p": {"x": 1, "label": "<Point: itself>"}}}


def test_the_same_object_twice_is_no_cycle() -> None:
    shared = {"a": 1}
    assert envelope({"x": shared, "y": [shared]}) == {"dict": {"x": {"a": 1}, "y": [{"a": 1}]}}


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"in": inner}])
def test_deep_nesting_is_kept_down_to_a_bound(make: Any) -> None:
    value: Any = "bottom"
    for _ in range(50):
        value = make(value)
    assert "bottom" in serialize(value)
    for _ in range(100_000):
        value = make(value)
    text = serialize(value)
    assert "nested too deep" in text
    json.loads(text)


def test_objects_that_refer_crosswise_end_soon() -> None:
    crew = [Plain() for _ in range(15)]
    for member in crew:
        member.others = list(crew)  # type: ignore[attr-defined]
    began = time.monotonic()
    text = serialize(crew[0])
    assert time.monotonic() - began < 20
    assert "too many parts" in text
    json.loads(text)


def test_large_tables_are_kept_whole() -> None:
    rows = [{"i": i, "tags": ["a", "b"]} for i in range(MAX_PARTS // 3)]
    assert envelope({"rows": rows}) == {"dict": {"rows": rows}}


def test_any_nesting_of_values_becomes_json() -> None:
    """Random structures of awkward leaves: always JSON, never an exception."""
    leaves = ["\x00", "\ud9ab", float("nan"), 10**6000, None, b"x", Silent(), Hostile(), Colour.RED]
    dice = random.Random(7)

    def grow(depth: int) -> Any:
        if depth == 0:
            return dice.choice(leaves)
        parts = [grow(depth - 1) for _ in range(dice.randint(0, 3))]
        kind = dice.choice("ltdp")
        if kind == "d":
            return {dice.choice(["a", "\x00", 1, None, "\ud800"]): part for part in parts}
        if kind == "p":
            return Point(1, parts)
        return tuple(parts) if kind == "t" else parts

    for _ in range(300):
        envelope(grow(4))


def test_every_kind_is_a_main_or_a_stdio_kind_and_only_output_may_be_dropped() -> None:
    in_tables_of_their_own = {Kind.UPLOAD, Kind.SPAN}
    assert set(Kind) == MAIN_KINDS | DROPPABLE_KINDS | in_tables_of_their_own
    assert {Kind.STDOUT, Kind.STDERR, Kind.DEBUG} == DROPPABLE_KINDS
