"""Data frames and series as values: stored by their rows, the beginning of large ones."""

import json
import math
from collections.abc import Iterator
from datetime import date
from typing import Any

from kodosumi_prefect.events import (
    FRAME_COLUMNS,
    FRAME_ROWS,
    FRAME_SIZE,
    MAX_TEXT,
    serialize,
)


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
