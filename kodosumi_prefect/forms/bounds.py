"""Bounds on values that can be stored: depth, size, characters."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

DEEPEST = 100  # lists and objects within one another; Prefect and pydantic fail at some 250
LEAST, MOST = -(2**63), 2**63 - 1  # Prefect fails at integers beyond 64 bits
LONGEST_PATH = 120  # characters of where a value stands

Path = tuple[str | int, ...]  # keys and indexes that lead to a value


class Fault(NamedTuple):
    """What is wrong with a value, and where it stands."""

    path: Path
    why: str

    @property
    def below(self) -> str:
        """What is wrong with the field that the path begins with, in one line."""
        where = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path[1:]
        ).removeprefix(".")
        if len(where) > LONGEST_PATH:
            where = f"{where[:LONGEST_PATH]}…"
        where = where.encode(errors="replace").decode().replace("\0", "?")
        return f"{where}: {self.why}" if where else self.why


def fault(value: Any, *, numbers: bool = False, nul: bool = False, path: Path = ()) -> Fault | None:
    """The first thing in ``value`` that cannot be stored; None if all can.

    Whatever it is, this neither recurses nor raises, and an object that holds itself ends it.

    Arguments:
        value: as JSON has it; tuples count as lists, other objects as they are.
        numbers: whether integers have to fit into 64 bits, and floats to be finite.
        nul: whether text may hold NUL characters.
        path: where the value is; faults are reported from there.
    """
    waiting: list[tuple[Any, Path, int]] = [(value, path, 0)]
    while waiting:
        item, where, depth = waiting.pop()
        if isinstance(item, str):
            if (why := _text_fault(item, nul)) is not None:
                return Fault(where, why)
        elif isinstance(item, Mapping | list | tuple):
            if depth >= DEEPEST:
                return Fault(path, f"is nested deeper than {DEEPEST} levels")
            pairs = item.items() if isinstance(item, Mapping) else enumerate(item)
            inner = []
            for key, each in pairs:
                if isinstance(key, str) and (why := _text_fault(key, nul)) is not None:
                    return Fault(where, f"a key {why}")
                inner.append((each, (*where, key if isinstance(key, int) else str(key)), depth + 1))
            waiting.extend(reversed(inner))
        elif numbers and (why := _number_fault(item)) is not None:
            return Fault(where, why)
    return None


def too_deep(value: Any) -> Path | None:
    """The key or index under which a JSON value is nested too deep; None if nowhere."""
    level: list[tuple[Path, Any]] = [((), value)]
    for _ in range(DEEPEST + 1):
        level = [
            (path or (key,), each)
            for path, item in level
            if isinstance(item, dict | list)
            for key, each in (item.items() if isinstance(item, dict) else enumerate(item))
        ]
        if not level:
            return None
    return level[0][0]


def _text_fault(text: str, nul: bool) -> str | None:
    if "\0" in text and not nul:
        return "contains a NUL character, which text cannot hold"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half a character (a lone surrogate)"
    return None


def _number_fault(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if isinstance(value, int) and not LEAST <= value <= MOST:
        return f"is {_short(value)}; integers from {LEAST} to {MOST} can be stored"
    return None


def _short(number: int) -> str:
    if number.bit_length() <= 200:
        return str(number)
    return f"an integer of {number.bit_length()} bits"
