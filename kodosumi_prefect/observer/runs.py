"""The rules by which states of flow runs become events of executions."""

import logging
import time
from dataclasses import dataclass, field, replace

from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.events import TERMINAL, Status
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.changes import RunChange, change_to
from kodosumi_prefect.observer.chosen import Selection
from kodosumi_prefect.observer.logs import Logs
from kodosumi_prefect.observer.recorder import Recorder
from kodosumi_prefect.status import is_worth_a_row, status_of
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import KnownExecution, ObservedExecution
from kodosumi_prefect.suspension.awaiting import awaits_in_process

GRACE = 2.0  # seconds a process of ours has to report that it runs a flow run
SETTLED = 2.0  # seconds a reported crash or cancellation rests before it is believed
ABANDONED = 120.0  # seconds after which a terminal state ends a stream whatever the heartbeat says
CLOCK_GRAIN = 1e-3  # seconds

logger = logging.getLogger(__name__)


@dataclass
class _Held:
    """A run that may or may not be executed by a process of ours; not known yet."""

    changes: list[RunChange] = field(default_factory=list)
    until: float = field(default_factory=lambda: time.monotonic() + GRACE)


class Runs:
    """Follows states of flow runs: of those that have a row, and of those that filters choose.

    A run's own process knows best how it ends, because its events come before the end. So a state
    that ends a run with a process of ours is only marked here (``ending``), and recorded once the
    process is silent, or somebody else ended the run, or much time has passed.
    """

    def __init__(
        self,
        reader: Reader,
        api: Api,
        recorder: Recorder,
        chosen: Selection,
        logs: Logs,
        heartbeat_timeout: float,
    ) -> None:
        self._reader = reader
        self._api = api
        self._recorder = recorder
        self._chosen = chosen
        self._logs = logs
        self._timeout = heartbeat_timeout
        self._held: dict[str, _Held] = {}
        self._flow_names: dict[str, str] = {}
        self.ending: set[str] = set()

    async def known(self, fids: list[str]) -> dict[str, KnownExecution]:
        """The rows of those that are executions."""
        if not fids:
            return {}
        rows = await self._reader.rows_of(
            KnownExecution, "known_executions", fids=fids, timeout=self._timeout
        )
        return {row.fid: row for row in rows}

    async def take(self, changes: list[RunChange]) -> None:
        """Record states in the order they came."""
        roots = [change for change in changes if change.parent is None]
        rows = await self.known(list({change.id for change in roots}))
        for change in roots:
            row = rows.get(change.id)
            if row is None and change.id not in self._held:
                if not (self._chosen.takes(change.place) and is_worth_a_row(change.state)):
                    continue
                await self._meet(change)
            else:
                self._take(row, change)

    async def settle(self) -> None:
        """Open runs that no process of ours executes; handle what was held back until then."""
        due = [fid for fid, held in self._held.items() if time.monotonic() >= held.until]
        if not due:
            return
        rows = await self.known(due)
        for fid in due:
            row: ObservedExecution | None = rows.get(fid)
            if row is None or not row.opened:
                run = await self._api.flow_run(fid)
                if run is None:
                    self._held.pop(fid)
                    continue
                self._recorder.open(run, await self._flow_name(run))
                row = _opened(row, fid)
            for change in self._held.pop(fid).changes:
                self._take(row, change)

    async def compare(self, row: ObservedExecution, run: FlowRun | None, calm: bool) -> bool:
        """Record what Prefect knows of a live execution beyond its row.

        Arguments:
            calm: Postgres answered for long enough that a silent process counts as gone.

        Returns:
            Whether the run is under way in Prefect while its process has been silent.
        """
        if run is None:
            if row.stale and calm:
                self._recorder.deleted(row)
            return False
        if run.state is None:
            return False
        silent = row.stale and calm
        if status_of(run.state) in TERMINAL and row.process is not None:
            if self._may_end(run, silent):
                self._recorder.state(row, change_to(run, run.state))
            return False
        if _is_news(row, change_to(run, run.state)) or (not row.opened and _has_begun(run)):
            await self._catch_up(row, run)
            return False
        active = run.state.type in (StateType.RUNNING, StateType.CANCELLING)
        return silent and (active or awaits_in_process(run.state))

    async def find(self, since: float, *, long_paused: bool) -> None:
        """Begin executions for chosen runs whose events were missed; as ``Selection.find``."""
        runs = [run async for run in self._chosen.find(since, long_paused=long_paused)]
        rows = await self.known([str(run.id) for run in runs])
        for run in runs:
            if str(run.id) not in rows and str(run.id) not in self._held:
                held = self._held[str(run.id)] = _Held()
                held.changes += await self._states(run)

    async def _meet(self, change: RunChange) -> None:
        """First contact with a chosen run."""
        run = await self._api.flow_run(change.id)
        if run is None or run.parent_task_run_id is not None:
            return
        if status_of(change.state) is Status.STARTING:
            self._recorder.begin(run, change.place.flow or await self._flow_name(run), change)
        else:
            self._held.setdefault(change.id, _Held()).changes.append(change)

    def _take(self, row: ObservedExecution | None, change: RunChange) -> None:
        status = status_of(change.state)
        if row is None or not row.opened:
            # One `starting` comes before inputs and meta, and the rest behind them.
            if status is not Status.STARTING:
                self._held.setdefault(change.id, _Held()).changes.append(change)
        elif not _is_news(row, change, grain=-CLOCK_GRAIN):
            return
        elif status not in TERMINAL:
            self._logs.go_on(change.id)
            self._recorder.state(row, change)
        elif row.process is not None:
            self.ending.add(change.id)
        else:
            self._logs.end(row, change)

    async def _catch_up(self, row: ObservedExecution, run: FlowRun) -> None:
        for change in await self._states(run):
            if row.state_ts is None or _is_news(row, change) or not row.opened:
                self._take(row, change)

    async def _states(self, run: FlowRun) -> list[RunChange]:
        """All states the run was in, as far as Prefect keeps them, in order."""
        states = await (await self._api.client()).read_flow_run_states(run.id)
        states.sort(key=lambda state: state.timestamp)
        return [change_to(run, state) for state in states if is_worth_a_row(state)]

    async def _flow_name(self, run: FlowRun) -> str | None:
        key = str(run.flow_id)
        if key not in self._flow_names:
            try:
                flow = await (await self._api.client()).read_flow(run.flow_id)
            except ObjectNotFound:
                return None
            self._flow_names[key] = flow.name
        return self._flow_names[key]

    def _may_end(self, run: FlowRun, silent: bool) -> bool:
        assert run.state is not None
        age = time.time() - run.state.timestamp.timestamp()
        told_by_others = run.state.type in (StateType.CRASHED, StateType.CANCELLED)
        return silent or (told_by_others and age > SETTLED) or age > ABANDONED


def _opened(row: ObservedExecution | None, fid: str) -> ObservedExecution:
    """The row of an execution as it is just opened."""
    if row is not None:
        return replace(row, opened=True)
    return ObservedExecution(
        fid=fid,
        status=Status.STARTING,
        state_type=None,
        state_ts=None,
        attempt=0,
        process=None,
        opened=True,
        has_error=False,
        stale=False,
    )


def _has_begun(run: FlowRun) -> bool:
    return run.state is not None and status_of(run.state) is not Status.STARTING


def _is_news(row: ObservedExecution, change: RunChange, grain: float = CLOCK_GRAIN) -> bool:
    """Whether a state is later than the row's."""
    if row.state_ts is None:
        return True
    return change.state.timestamp.timestamp() > row.state_ts + grain
