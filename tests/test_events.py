"""What becomes of any Python value on its way into the stream."""

import dataclasses
import enum
import json
import math
import random
import time
from collections import namedtuple
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from kodosumi_prefect.events import (
    DROPPABLE_KINDS,
    FRAME_COLUMNS,
    FRAME_ROWS,
    FRAME_SIZE,
    MAIN_KINDS,
    MAX_PARTS,
    MAX_TEXT,
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
        (None, {"NoneType": "None"}),
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
        (b"\x00\xff", {"bytes": "b'\\x00\\xff'"}),
        (Decimal("1.10"), {"Decimal": "1.10"}),
        (datetime(2026, 1, 2, tzinfo=UTC), {"datetime": "2026-01-02 00:00:00+00:00"}),
        ({"d": date(2026, 1, 2)}, {"dict": {"d": "2026-01-02"}}),
        ({"p": Path("/a")}, {"dict": {"p": "/a"}}),
        ({1: "a", None: "b", (2, 3): "c"}, {"dict": {"1": "a", "None": "b", "(2, 3)": "c"}}),
        ({"s": {1}}, {"dict": {"s": [1]}}),
        (ValueError("no"), {"ValueError": "no"}),
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
    assert set(Kind) == MAIN_KINDS | DROPPABLE_KINDS
    assert {Kind.STDOUT, Kind.STDERR, Kind.DEBUG, Kind.UPLOAD} == DROPPABLE_KINDS


class _Rows:
    """What pandas has at ``DataFrame.iloc``."""

    def __init__(self, frame: "PandasLike") -> None:
        self._frame = frame

    def __getitem__(self, place: tuple[slice, slice]) -> "PandasLike":
        rows, columns = place
        cells = [row[columns] for row in self._frame._rows[rows]]
        return PandasLike.of(self._frame._names[columns], cells, self._frame._labels[rows])


class _Labels(list[Any]):
    def tolist(self) -> list[Any]:
        return list(self)


class PandasLike:
    """As much of a pandas DataFrame as is used of it, with private attributes only."""

    def __init__(self, names: list[Any], rows: list[tuple[Any, ...]], labels: list[Any]) -> None:
        self._names, self._rows, self._labels = names, rows, labels

    @classmethod
    def of(cls, names: list[Any], rows: list[Any], labels: list[Any]) -> "PandasLike":
        return type("DataFrame", (cls,), {})(names, rows, labels)

    def __str__(self) -> str:
        raise AssertionError("a frame is never printed whole")

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._rows), len(self._names)

    @property
    def columns(self) -> _Labels:
        return _Labels(self._names)

    @property
    def index(self) -> _Labels:
        return _Labels(self._labels)

    @property
    def iloc(self) -> _Rows:
        return _Rows(self)

    def head(self, count: int) -> "PandasLike":
        return self.iloc[:count, :]

    def itertuples(self, index: bool, name: None) -> Iterator[tuple[Any, ...]]:
        assert not index
        return iter(self._rows)


class PolarsLike:
    """Likewise of polars."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns

    @classmethod
    def of(cls, columns: dict[str, list[Any]]) -> "PolarsLike":
        return type("DataFrame", (cls,), {})(columns)

    @property
    def shape(self) -> tuple[int, int]:
        return len(next(iter(self._columns.values()))), len(self._columns)

    @property
    def columns(self) -> list[str]:
        return list(self._columns)

    def head(self, count: int) -> "PolarsLike":
        return PolarsLike.of({name: cells[:count] for name, cells in self._columns.items()})

    def select(self, names: list[str]) -> "PolarsLike":
        return PolarsLike.of({name: self._columns[name] for name in names})

    def rows(self) -> list[tuple[Any, ...]]:
        return list(zip(*self._columns.values(), strict=True))


def test_a_data_frame_is_stored_by_its_rows() -> None:
    frame = PandasLike.of(["n", ("a", "b")], [(1, math.nan), (2, date(2026, 1, 2))], [0, 1])
    expected = {
        "columns": ["n", "('a', 'b')"],
        "data": [[1, "NaN"], [2, "2026-01-02"]],
        "shape": [2, 2],
    }
    assert json.loads(serialize(frame)) == {"DataFrame": expected}
    assert json.loads(serialize({"inside": frame})) == {"dict": {"inside": expected}}
    labelled = PandasLike.of(["n"], [(1,), (2,)], ["x", "y"])
    assert json.loads(serialize(labelled))["DataFrame"]["index"] == ["x", "y"]
    other = PolarsLike.of({"n": [1, None], "word": ["a", "b\x00"]})
    assert json.loads(serialize(other)) == {
        "DataFrame": {"columns": ["n", "word"], "data": [[1, "a"], [None, "b␀"]], "shape": [2, 2]}
    }


def test_of_a_large_data_frame_the_beginning_is_stored() -> None:
    tall = PolarsLike.of({"n": list(range(100_000))})
    stored = json.loads(serialize(tall))["DataFrame"]
    assert (len(stored["data"]), stored["shape"]) == (FRAME_ROWS, [100_000, 1])
    wide = PandasLike.of(list(range(5000)), [tuple(range(5000))], [0])
    stored = json.loads(serialize(wide))["DataFrame"]
    assert (len(stored["columns"]), stored["shape"]) == (FRAME_COLUMNS, [1, 5000])
    heavy = PandasLike.of(["text"], [("x" * 1_000_000,)] * 5000, list(range(5000)))
    assert len(serialize(heavy)) < 1.1 * FRAME_SIZE


class Hidden:
    """An object that keeps everything to itself."""

    def __init__(self, said: Any) -> None:
        self._said = said

    def __str__(self) -> str:
        if isinstance(self._said, Exception):
            raise self._said
        return str(self._said)


def test_an_object_without_public_attributes_is_stored_as_its_str() -> None:
    assert json.loads(serialize(Hidden("0  1\n1  2"))) == {"Hidden": "0  1\n1  2"}
    assert json.loads(serialize({"in": [Hidden("here")]})) == {"dict": {"in": ["here"]}}
    (said,) = json.loads(serialize(Hidden(ValueError()))).values()
    assert said == "<Hidden without text: its __str__ raised ValueError>"
    assert len(serialize(Hidden("x" * 20_000_000))) < 1.1 * MAX_TEXT


def test_a_class_that_only_has_the_name_of_a_data_frame_is_stored_as_any_other() -> None:
    named = type("DataFrame", (Hidden,), {})
    assert json.loads(serialize(named("some rows"))) == {"DataFrame": "some rows"}


def test_of_a_long_series_the_beginning_is_stored() -> None:
    class Series(Hidden):
        def __len__(self) -> int:
            return len(self._said)

        def head(self, count: int) -> "Series":
            return Series(self._said[:count])

    stored = json.loads(serialize(Series(list(range(10_000)))))["Series"]
    assert stored.startswith("[0, 1, 2,")
    assert stored.endswith("999]\n… the first 1,000 of 10,000 rows")
