"""Calls of tasks and subflows, numbered so that each leg of a run finds the same ones again.

A call is known by the place that it is made in (a flow run, or the call of a task), its series
(what is called, in which branch of asyncio tasks) and its ordinal in that series. In a later leg
the call of the same ordinal is the same call. Where calls come in the order in which others
ended, their arguments say which is which.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from kodosumi_prefect.events import clean

LONGEST_PATH = 200  # characters of the name of a place, of a series; longer ones are hashed
UNORDERED = "it was called from several threads at once, so its calls cannot be told apart"


class Attempt(NamedTuple):
    """Which attempt of which execution calls belong to, and in which of its legs."""

    fid: str
    number: int
    leg: int


class Call(NamedTuple):
    """One call of a task or a subflow.

    Attributes:
        name: what people call what was called.
        arguments: digests by parameter, as JSON; of those that can be compared.
        finished: an earlier leg has kept what it returned or raised.
    """

    attempt: Attempt
    place: str
    series: str
    ordinal: int
    name: str
    arguments: str | None = None
    finished: bool = False

    @property
    def path(self) -> str:
        """As a place for the calls that are made in it."""
        return bounded(f"{self.place}/{self.series}#{self.ordinal}")

    def packed(self) -> tuple[Any, ...]:
        """As plain values, which processes with any version of this package can unpickle."""
        return (tuple(self.attempt), *self[1:])


def unpacked(packed: tuple[Any, ...]) -> Call:
    """What ``Call.packed`` gave."""
    return Call(Attempt(*packed[0]), *packed[1:])


class KeptCall(NamedTuple):
    """A call that an earlier leg made, and finished or not."""

    ordinal: int
    arguments: str | None
    finished: bool = True


Kept = Mapping[tuple[str, str], list[KeptCall]]  # by place and series, in the order of ordinals


class Series:
    """The calls of one task or subflow in one branch of a place, in this leg.

    Arguments:
        kept: what an earlier leg made of it.
    """

    def __init__(self, kept: list[KeptCall]) -> None:
        self._kept = {call.ordinal: call for call in kept}
        self._next = 0
        self._highest = max(self._kept, default=-1)
        self._thread = threading.get_ident()
        self.unordered = False

    def take(self, arguments: str | None, derived: frozenset[str]) -> tuple[int, bool, list[str]]:
        """The number of the next call, whether it finished before, and which arguments differ."""
        self.unordered = self.unordered or self._thread != threading.get_ident()
        ordinal, self._next = self._next, self._next + 1
        if not self._kept and ordinal > self._highest:
            return ordinal, False, []
        same = self._kept.get(ordinal)
        differing = _differing(same.arguments, arguments) if same is not None else []
        if same is None or differing:
            # In another order, by what other calls returned.
            for other in self._kept.values():
                if arguments is not None and other.arguments == arguments:
                    del self._kept[other.ordinal]
                    return other.ordinal, other.finished, []
        if same is not None and not (differing and derived.issuperset(differing)):
            del self._kept[ordinal]
            return ordinal, same.finished, differing
        if ordinal <= self._highest:  # that number is or was another call's
            self._highest += 1
            return self._highest, False, []
        self._highest = ordinal
        return ordinal, False, []


class Place:
    """Where calls are made: a flow run, or the call of a task.

    Arguments:
        path: empty for the root.
        read: gives what earlier legs finished; called when the first call is made.
    """

    def __init__(self, attempt: Attempt, path: str, read: Callable[[], Kept]) -> None:
        self.attempt = attempt
        self.path = path
        self._read = read
        self._kept: Kept | None = None
        self.unordered: set[str] = set()  # names of what was called from several threads
        self._series: dict[str, Series] = {}
        self._lock = threading.Lock()

    def number(
        self, branch: str, key: str, name: str, arguments: str | None, derived: frozenset[str]
    ) -> tuple[Call, list[str]]:
        """The next call of a series, and which arguments are not those of the leg before.

        Arguments:
            key: of what is called.
            arguments: as in ``Call``.
            derived: parameters whose values are what other calls returned.
        """
        name_of_series = bounded(f"{branch}{key}")
        with self._lock:
            if self._kept is None:
                self._kept = self._read()
            series = self._series.get(name_of_series)
            if series is None:
                kept = self._kept.get((self.path, name_of_series), [])
                series = self._series[name_of_series] = Series(kept)
            ordinal, finished, differing = series.take(arguments, derived)
            if series.unordered:
                self.unordered.add(name)
        called = clean(name)
        call = Call(self.attempt, self.path, name_of_series, ordinal, called, arguments, finished)
        return call, differing


class Here:
    """The place that code is in, and the branch of asyncio tasks.

    Attributes:
        flow_run: whose code it is; None until its first call.
    """

    __slots__ = ("_branches", "branch", "flow_run", "place")

    def __init__(self, place: Place, flow_run: UUID | None = None, branch: str = "") -> None:
        self.place = place
        self.flow_run = flow_run
        self.branch = branch
        self._branches: dict[str, int] = {}

    def branched(self, name: str) -> "Here":
        """Where an asyncio task is that is made here to run the coroutine of that name."""
        number = self._branches.get(name, 0)
        self._branches[name] = number + 1
        return Here(self.place, self.flow_run, bounded(f"{self.branch}{name}#{number}>"))


here: ContextVar[Here | None] = ContextVar("kodosumi_place", default=None)


def bounded(path: str) -> str:
    """A path as Postgres can store it, or what is as good and no longer than ``LONGEST_PATH``."""
    if len(path) <= LONGEST_PATH:
        return clean(path)
    return f"sha256:{hashlib.sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()}"


def short(path: str) -> str:
    """The name of a call in events, of which there may be many."""
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _differing(before: str | None, now: str | None) -> list[str]:
    """Parameters whose arguments can be compared and are not the same."""
    if before is None or now is None or before == now:
        return []
    first, second = orjson.loads(before), orjson.loads(now)
    return sorted(name for name in first.keys() & second.keys() if first[name] != second[name])
