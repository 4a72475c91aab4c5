"""Suspended runs that Prefect was seen to hold for suspended: one question asks about many."""

from uuid import UUID

from prefect.client.schemas.filters import (
    DeploymentFilter,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkQueueFilter,
)
from prefect.client.schemas.objects import FlowRun, StateType

from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.stream.rows import LiveExecution
from kodosumi_prefect.suspension import awaiting

PAUSED = StateType.PAUSED.value
SUSPENDED = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))


class Resting:
    """Which suspended runs are as they were when they were compared.

    Of these nothing is read while as many of them as there are in Prefect are paused, and have
    their deployment and work queue: whatever else may happen to one there, cancelling, resuming,
    deleting, makes them fewer.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._since: dict[str, float | None] = {}  # when each was suspended, by the row
        self._met: set[str] = set()  # in this turn through all of them

    async def disturbed(self, rows: list[LiveExecution]) -> list[LiveExecution]:
        """Those that have to be compared: all that are new here, and all if one of them moved."""
        self._met |= {row.fid for row in rows}
        resting = {row.fid for row in rows if self._rests(row)}
        if not resting or await self._paused(resting) != len(resting):
            return rows
        return [row for row in rows if row.fid not in resting]

    def compared(self, row: LiveExecution, run: FlowRun | None) -> None:
        """Note what a row and its run are to each other."""
        if run is not None and _can_go_on(run) and row.state_type == PAUSED:
            self._since[row.fid] = row.state_ts
        else:
            self._since.pop(row.fid, None)

    def end_turn(self) -> None:
        """All suspended runs were met: forget the others."""
        self._since = {fid: since for fid, since in self._since.items() if fid in self._met}
        self._met = set()

    def _rests(self, row: LiveExecution) -> bool:
        return row.opened and row.fid in self._since and self._since[row.fid] == row.state_ts

    async def _paused(self, fids: set[str]) -> int:
        chosen = FlowRunFilter(
            id=FlowRunFilterId(any_=[UUID(fid) for fid in fids]), state=SUSPENDED
        )
        client = await self._api.client()
        return await client.count_flow_runs(
            flow_run_filter=chosen,
            deployment_filter=DeploymentFilter(),  # any, which is there
            work_queue_filter=WorkQueueFilter(),
        )


def _can_go_on(run: FlowRun) -> bool:
    """Whether a run is suspended, and a worker would have it once it is resumed."""
    return (
        awaiting.is_suspended(run.state)
        and run.deployment_id is not None
        and run.work_queue_id is not None
    )
