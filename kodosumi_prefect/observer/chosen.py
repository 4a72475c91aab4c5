"""Which flow runs become executions although their code does not use this package."""

import time
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkPoolFilterType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.types import DateTime

from kodosumi_prefect.listings import PAGE, flow_runs
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.changes import RunPlace
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import POOL_TYPE

ANY = "*"
POOLS_KEPT = 30.0  # seconds for which the names of our pools are remembered

LIVE = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


class Selection:
    """The filters ``observe_work_pools``, ``observe_tags`` and ``observe_deployments``.

    A run that any of them names is chosen.
    """

    def __init__(self, settings: Settings, api: Api) -> None:
        self._pools = settings.observe_work_pools
        self._tags = frozenset(settings.observe_tags or ())
        self._deployments = frozenset(settings.observe_deployments or ())
        self._api = api
        self._ours: frozenset[str] = frozenset()
        self._ours_until = 0.0

    def takes(self, place: RunPlace) -> bool:
        """Whether a run that an event places there is chosen."""
        if self._pools is None:
            if place.work_pool_type == POOL_TYPE:
                return True
        elif ANY in self._pools or place.work_pool in self._pools:
            return True
        deployed = place.deployment and f"{place.flow}/{place.deployment}"
        return bool(self._tags & place.tags) or deployed in self._deployments

    async def our_pools(self) -> frozenset[str]:
        """The names of the work pools of our worker's type."""
        if time.monotonic() > self._ours_until:
            client = await self._api.client()
            of_type = WorkPoolFilter(type=WorkPoolFilterType(any_=[POOL_TYPE]))
            pools = await client.read_work_pools(work_pool_filter=of_type, limit=PAGE)
            self._ours = frozenset(pool.name for pool in pools)
            self._ours_until = time.monotonic() + POOLS_KEPT
        return self._ours

    async def find(self, since: float, *, long_paused: bool) -> AsyncIterator[FlowRun]:
        """Chosen root runs that are under way, or that ended since then.

        Arguments:
            since: epoch seconds.
            long_paused: those as well that began before that and are paused, of which there may
                be thousands; whoever looked for them once has met those that began earlier.
        """
        moment = DateTime.fromtimestamp(since, UTC)
        paused = {"state": _of_types(StateType.PAUSED)}
        begun = {} if long_paused else {"start_time": FlowRunFilterStartTime(after_=moment)}
        ended = {"end_time": FlowRunFilterEndTime(after_=moment)}
        seen = set()
        for where in [where async for where in self._where()]:
            tags = where.pop("tags", None)
            for when in ({"state": _of_types(*LIVE)}, paused | begun, ended):
                flow_run_filter = FlowRunFilter(
                    parent_task_run_id=FlowRunFilterParentTaskRunId(is_null_=True),
                    tags=tags,
                    **when,
                )
                async for run in self._read(flow_run_filter, where):
                    if run.id not in seen:
                        seen.add(run.id)
                        yield run

    async def _where(self) -> AsyncIterator[dict[str, Any]]:
        """Filters for Prefect, one after the other: it joins those of one request by AND."""
        if self._pools is None:
            if await self.our_pools():
                yield {
                    "work_pool_filter": WorkPoolFilter(type=WorkPoolFilterType(any_=[POOL_TYPE]))
                }
        elif ANY in self._pools:
            yield {}
            return
        elif self._pools:
            yield {"work_pool_filter": WorkPoolFilter(name=WorkPoolFilterName(any_=self._pools))}
        if self._tags:
            yield {"tags": FlowRunFilterTags(any_=sorted(self._tags))}
        ids = []
        for name in sorted(self._deployments):
            try:
                deployment = await (await self._api.client()).read_deployment_by_name(name)
            except ObjectNotFound:
                continue  # it may be deployed yet
            ids.append(deployment.id)
        if ids:
            yield {"deployment_filter": DeploymentFilter(id=DeploymentFilterId(any_=ids))}

    async def _read(
        self, flow_run_filter: FlowRunFilter, where: dict[str, Any]
    ) -> AsyncIterator[FlowRun]:
        client = await self._api.client()
        for offset in range(0, 100 * PAGE, PAGE):
            page = await flow_runs(
                client,
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
                offset=offset,
                flow_run_filter=flow_run_filter,
                **where,
            )
            for run in page.rows:
                yield run
            if page.last:
                return


def _of_types(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
