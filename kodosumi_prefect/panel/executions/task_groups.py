"""Task runs by their task, so that ten thousand mapped ones are one row."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, NamedTuple

from kodosumi_prefect.panel.html.gantt import look

Item = dict[str, Any]
Sort = Literal["began", "took", "name", "state"]

FOLDED = 60  # task runs from which on they are shown by task
SHORTEST_END, LONGEST_END = 8, 18  # characters of a name that are shown whatever room there is
# What to look at first.
_ORDER = {"error": 0, "awaiting": 1, "running": 2, "starting": 3, "cancelled": 4, "finished": 5}


class Count(NamedTuple):
    """How many runs of a task are in a state."""

    state: str
    look: str
    runs: int


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one task, and of one subflow if it is called in one.

    Attributes:
        key: tells it from the other groups of an execution.
        shortest, median, longest: seconds; None if none of them began.
        slowest: the one that took ``longest``.
    """

    key: str
    task: str
    subflow: str
    items: Sequence[Item]
    counts: Sequence[Count]
    shortest: float | None
    median: float | None
    longest: float | None
    slowest: Item | None

    @property
    def look(self) -> str:
        """How the worst of them is."""
        return self.counts[0].look


def grouped(items: Iterable[Item]) -> list[Group]:
    """``items`` by task, in the order of the first of each."""
    members: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        members.setdefault((item["task"], _subflow(item)), []).append(item)
    return [_group(task, subflow, those) for (task, subflow), those in members.items()]


def ordered(items: Sequence[Item], sort: Sort) -> list[Item]:
    """``items``, which stand in the order they began, otherwise: the slowest or the worst first."""
    keys: Mapping[str, Callable[[Item], Any]] = {
        "began": lambda _: 0,
        "took": lambda item: -(item["duration"] or 0),
        "name": lambda item: _natural(item["name"]),
        "state": lambda item: _ORDER.get(look(item["state_type"]), 9),
    }
    return sorted(items, key=keys[sort])


def ordered_groups(groups: Sequence[Group], sort: Sort) -> list[Group]:
    """The same of groups, by their longest run and their worst state."""
    keys: Mapping[str, Callable[[Group], Any]] = {
        "began": lambda _: 0,
        "took": lambda group: -(group.longest or 0),
        "name": lambda group: _natural(group.task),
        "state": lambda group: _ORDER.get(group.look, 9),
    }
    return sorted(groups, key=keys[sort])


def slowest(items: Iterable[Item]) -> Item | None:
    """The one that took, or takes, longest."""
    known = [item for item in items if item["duration"] is not None]
    return max(known, key=lambda item: item["duration"], default=None)


def ends(items: Sequence[Item]) -> list[tuple[str, str]]:
    """Each name in two parts: what may be cut for want of room, and the end that may not be.

    The end holds what tells a run from the others of its task, as far as it is not too long.
    """
    names = [str(item["name"] or item["id"]) for item in items]
    by_task: dict[str, list[str]] = {}
    for name, item in zip(names, items, strict=True):
        by_task.setdefault(item["task"], []).append(name)
    common = {
        task: _alike(min(those), max(those)) if len(those) > 1 else 0
        for task, those in by_task.items()
    }
    parts = []
    for name, item in zip(names, items, strict=True):
        kept = min(max(len(name) - common[item["task"]], SHORTEST_END), LONGEST_END)
        parts.append((name[:-kept], name[-kept:]))
    return parts


def _group(task: str, subflow: str, items: list[Item]) -> Group:
    counted = Counter((item["state_name"] or "unknown", look(item["state_type"])) for item in items)
    counts = [Count(state, shape, runs) for (state, shape), runs in counted.items()]
    counts.sort(key=lambda count: (_ORDER.get(count.look, 9), count.state))
    took = [item["duration"] for item in items if item["duration"] is not None]
    return Group(
        key=f"{task} {subflow}" if subflow else task,
        task=task,
        subflow=subflow,
        items=items,
        counts=counts,
        shortest=min(took, default=None),
        median=median(took) if took else None,
        longest=max(took, default=None),
        slowest=slowest(items),
    )


def _subflow(item: Item) -> str:
    subflow = item["subflow"] or {}
    return str(subflow.get("name") or subflow.get("id") or "")


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _natural(name: str) -> tuple[str, int]:
    """``x-2`` before ``x-10``."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdecimal() else (name, -1)
