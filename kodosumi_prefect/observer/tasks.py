"""Task runs that start and end, as events of their root's stream."""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.events import TERMINAL
from kodosumi_prefect.observer.ancestry import Ancestry
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.changes import TaskChange
from kodosumi_prefect.observer.recorder import Recorder
from kodosumi_prefect.status import status_of
from kodosumi_prefect.stream.rows import KnownExecution

EXECUTION_ROW_SECONDS = 30.0  # seconds for which a task run waits for its execution's row
FIRST_PAUSE = 0.25  # seconds between two checks for that row, which double up to the longest
LONGEST_PAUSE = 8.0
REST = 2.0  # seconds after which it is looked whether one came between a result and the end
CLOSING = 180.0  # seconds for which an end is waited for
WAITING = 20_000  # task runs that wait at once


class _Waiting(NamedTuple):
    """A state whose execution has no row yet; times are of the monotonic clock."""

    change: TaskChange
    until: float
    due: float
    backoff: Backoff

    def later(self) -> "_Waiting":
        """Looked for in vain: the next look is later."""
        return self._replace(due=time.monotonic() + self.backoff.next())


class _TaskReport(NamedTuple):
    """A task run's state as it was reported; ``at`` is a time of the monotonic clock."""

    at: float
    root: str
    change: TaskChange
    attempt: int
    subflow: tuple[str, str] | None


Known = Callable[[list[str]], Awaitable[dict[str, KnownExecution]]]


class TaskRunRecorder:
    """Records task runs of executions, those of subflows in the root's stream.

    Arguments:
        known: the rows of flow runs that are executions.
    """

    def __init__(self, api: Api, recorder: Recorder, ancestry: Ancestry, known: Known) -> None:
        self._api = api
        self._recorder = recorder
        self._ancestry = ancestry
        self._known = known
        self._waiting: list[_Waiting] = []
        self._reports: list[_TaskReport] = []

    def meet(self, roots: Iterable[str]) -> None:
        """Remember flow runs that are no subflows, so that Prefect need not be asked."""
        for root in roots:
            self._ancestry.learn_root(root)

    async def take(self, changes: list[TaskChange]) -> None:
        """Record starts and ends of task runs; those without a row yet wait for a while."""
        now = time.monotonic()
        for change in changes:
            self._ancestry.learn_task(change.id, change.name)
        waiting = [
            _Waiting(
                change,
                now + EXECUTION_ROW_SECONDS,
                now,
                Backoff(FIRST_PAUSE, LONGEST_PAUSE),
            )
            for change in changes
            if _is_told(change)
        ]
        self._keep(await self._record(waiting) + self._waiting)

    async def again(self) -> None:
        """Try those that wait once more, and give up the ones that waited long enough.

        What came while an execution was about to end was not stored; it is emitted again behind
        the end. What was stored has a key, so emitting it again is harmless. If Prefect or Postgres
        cannot be asked, all go on waiting.
        """
        await self._tell_behind_ends()
        now = time.monotonic()
        self._waiting = [waiting for waiting in self._waiting if waiting.until > now]
        due = [waiting for waiting in self._waiting if waiting.due <= now]
        if due:
            due.sort(key=lambda waiting: waiting.change.state.timestamp)
            left = await self._record(due)
            looked = {id(waiting) for waiting in due}
            self._keep(left + [one for one in self._waiting if id(one) not in looked])

    def _keep(self, waiting: list[_Waiting]) -> None:
        """Have these wait; of too many, those go that have waited longest."""
        if len(waiting) > WAITING:
            waiting = sorted(waiting, key=lambda one: one.until, reverse=True)[:WAITING]
        self._waiting = waiting

    async def _record(self, items: list[_Waiting]) -> list[_Waiting]:
        """Record those whose execution is known; returns the others, to be tried later."""
        runs = {item.change.id: await self._flow_run(item.change) for item in items}
        rows = await self._known(list({run for run in runs.values() if run}))
        roots: dict[str, str | None] = {run: run for run in rows}
        for run in {run for run in runs.values() if run} - rows.keys():
            roots[run] = await self._ancestry.root(run)
        above = {root for root in roots.values() if root} - rows.keys()
        rows |= await self._known(list(above))
        left = []
        for item in items:
            run = runs[item.change.id] or ""
            root = roots.get(run)
            row = rows.get(root or "")
            if root is None or row is None or not row.opened:
                left.append(item.later())
                continue
            subflow = (run, self._ancestry.name(run)) if run != root else None
            now, attempt = time.monotonic(), max(row.attempt, 1)
            report = _TaskReport(now, root, item.change, attempt, subflow)
            self._tell(report)
            self._reports.append(report)
        return left

    def _tell(self, report: "_TaskReport") -> None:
        self._recorder.task(report.root, report.change, report.attempt, report.subflow)

    async def _tell_behind_ends(self) -> None:
        now = time.monotonic()
        due = [report for report in self._reports if report.at < now - REST]
        if not due:
            return
        rows = await self._known(list({report.root for report in due}))
        pending = []
        for report in due:
            row = rows.get(report.root)
            if row is not None and row.closing:
                pending += [report] if report.at > now - CLOSING else []
            elif row is not None and row.status in TERMINAL:
                self._tell(report)
        gone = {id(report) for report in due}
        self._reports = pending + [report for report in self._reports if id(report) not in gone]

    async def _flow_run(self, change: TaskChange) -> str | None:
        if change.flow_run is not None:
            return change.flow_run
        # A task that a Ray worker runs knows its flow run only by id, and its event may not.
        try:
            task_run = await (await self._api.client()).read_task_run(change.id)  # type: ignore[arg-type]
        except ObjectNotFound:
            return None
        return str(task_run.flow_run_id) if task_run.flow_run_id else None


def _is_told(change: TaskChange) -> bool:
    """Whether a state begins or ends an attempt; those between matter little."""
    return change.state.type is StateType.RUNNING or status_of(change.state) in TERMINAL
