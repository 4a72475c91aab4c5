"""What a process knows of the calls of the attempts that it works for."""

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

from kodosumi_prefect.suspension.calls import Attempt, Call, Kept, Place
from kodosumi_prefect.suspension.under_way import UnderWay

Read = Callable[[], Any]


class Record:
    """Calls of one attempt of an execution, in one of its processes.

    Arguments:
        kept: what earlier legs finished of all of it; None where that is read place by place.

    Attributes:
        runs: the paths of calls by the ids of their task runs.
        refuses: the flow was told not to keep results.
        keeps: whether results are kept; None until a first call asks whether that may be of use.
        under_way: what of it is not over in this process.
        watched: what of it was submitted to other processes is watched.
    """

    def __init__(self, attempt: Attempt, kept: Kept | None = None) -> None:
        self.attempt = attempt
        self.whole = kept is not None
        self.kept: Kept = kept if kept is not None else {}
        self.runs: dict[UUID, str] = {}
        self.refuses = False
        self.keeps: bool | None = True
        self.under_way = UnderWay()
        self.watched = False
        self._unordered: set[str] = set()
        self._submitted: dict[str, tuple[Call, Callable[[], bool]]] = {}

    def place(self, path: str, kept: Read | None) -> Place:
        """Where calls are made.

        Arguments:
            kept: reads what earlier legs finished there; None for all of it.
        """
        place = Place(self.attempt, path, kept if kept is not None else lambda: self.kept)
        place.unordered = self._unordered
        return place

    def unordered(self) -> set[str]:
        """Names of what was called from several threads."""
        return self._unordered

    def submitted(self, call: Call, future: Any) -> None:
        """A call was handed to a task runner."""
        self.runs[future.task_run_id] = call.path
        self._submitted[call.path] = (call, _is_done(future))
        if (elsewhere := getattr(future, "elsewhere", None)) is not None:  # ours on Ray
            self.under_way.go_elsewhere(call.path, elsewhere)
        _when_done(future, lambda: self.under_way.end(call.path))

    def ended(self, call: Call) -> None:
        """A call ended in this process."""
        self._submitted.pop(call.path, None)

    def outstanding(self) -> list[Call]:
        """Calls that ended elsewhere, as far as this process knows."""
        return [call for call, is_done in list(self._submitted.values()) if is_done()]


def _is_done(future: Any) -> Callable[[], bool]:
    """Whether a future completed or failed; without holding its value."""
    state_of = getattr(future, "state_of", None)
    if state_of is not None:  # ours on Ray
        return state_of()  # type: ignore[no-any-return]
    return lambda: bool(future.state.is_completed() or future.state.is_failed())


def _when_done(future: Any, call: Callable[[], None]) -> None:
    """Call something once a task is over, wherever it is; without holding the future."""
    when_over = getattr(future, "when_over", None)
    if when_over is not None:  # ours on Ray
        when_over(call)
    else:
        future.add_done_callback(lambda _: call())


records: dict[str, Record] = {}  # of flows that run here, and of their tasks elsewhere
MOST_RECORDS = 100


def record_of(attempt: Attempt, make: bool = False) -> Any:
    """The record of an attempt; made if it is not there and ``make``."""
    record = records.get(attempt.fid)
    if record is not None and record.attempt == attempt:
        return record
    if not make:
        return None
    while len(records) >= MOST_RECORDS:
        records.pop(next(iter(records)))
    record = records[attempt.fid] = Record(attempt)
    return record


def forget(fid: str) -> None:
    """The run is over here."""
    records.pop(fid, None)


os.register_at_fork(after_in_child=records.clear)
