"""Schedules of Prefect deployments that people made without us: read from Prefect, never kept."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterId
from prefect.client.schemas.objects import DeploymentSchedule, Flow
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.launch.refusal import GoneError
from kodosumi_prefect.launch.schedules import in_prefect, last_runs
from kodosumi_prefect.listings import PAGE, deployments_by_id, narrowed
from kodosumi_prefect.settings import Settings

Row = dict[str, Any]


async def others(ours: Collection[str], settings: Settings) -> list[Row]:
    """Schedules of all deployments but ours, as ``schedules.schedules_of`` returns them.

    ``flow`` is the flow's name; ``owner`` is None, since nobody is noted.

    Arguments:
        ours: ids of schedules to leave out.

    Raises:
        LaunchError: Prefect or Postgres are away.
    """
    async with prefect_api(settings) as client:
        pairs = [
            (deployment, schedule)
            for deployment in await _deployments(client)
            for schedule in deployment.schedules
            if str(schedule.id) not in ours
        ]
        flows = await _flows(client, {deployment.flow_id for deployment, _ in pairs})
    runs = await last_runs([str(schedule.id) for _, schedule in pairs], settings)
    return [
        {
            "id": str(schedule.id),
            "summary": None,
            "flow": flows.get(deployment.flow_id),
            "endpoint": None,
            "last_run": runs.get(str(schedule.id)),
            "owner": None,
            "username": None,
        }
        | await in_prefect(deployment, schedule)
        for deployment, schedule in pairs
    ]


async def next_times(
    deployments: Collection[str], ours: Collection[str], settings: Settings
) -> dict[str, Row]:
    """When deployments run next by schedules that are not ours, by the deployment's id.

    Each is ``{"next": [timestamp, …]}``, empty if all its schedules are paused; deployments that
    have none are left out.

    Arguments:
        ours: ids of schedules to leave out.

    Raises:
        LaunchError: Prefect is away.
    """
    async with prefect_api(settings) as client:
        by_id = await deployments_by_id(client, sorted(map(UUID, deployments)))
    times: dict[str, Row] = {}
    for deployment in by_id.rows.values():
        for schedule in deployment.schedules:
            if str(schedule.id) not in ours:
                entry = times.setdefault(str(deployment.id), {"next": []})
                entry["next"] += (await in_prefect(deployment, schedule))["next"][:1]
    return times


async def switch(deployment: str, id_: str, active: bool, settings: Settings) -> None:
    """Pause or resume a schedule of somebody's deployment.

    Raises:
        LaunchError: there is none (any more), or Prefect is away.
    """
    async with prefect_api(settings) as client:
        schedule = await _schedule(client, deployment, id_)
        # Its parameters have to be sent each time, see ``schedules``.
        await client.update_deployment_schedule(
            UUID(deployment), schedule.id, active=active, parameters=schedule.parameters
        )


async def _schedule(client: PrefectClient, deployment: str, id_: str) -> DeploymentSchedule:
    try:
        schedules = (await client.read_deployment(UUID(deployment))).schedules
    except ObjectNotFound:
        schedules = []
    for schedule in schedules:
        if str(schedule.id) == id_:
            return schedule
    raise GoneError(f"schedule {id_} was deleted in Prefect")


async def _deployments(client: PrefectClient) -> list[DeploymentResponse]:
    async def read(limit: int, offset: int) -> list[DeploymentResponse]:
        return await client.read_deployments(limit=limit, offset=offset)

    deployments: list[DeploymentResponse] = []
    offset = 0
    while not (page := await narrowed(read, "deployment", offset=offset)).last:
        deployments += page.rows
        offset += PAGE
    return deployments + page.rows


async def _flows(client: PrefectClient, ids: set[UUID]) -> dict[UUID, str]:
    ordered = sorted(ids)
    names: dict[UUID, str] = {}
    for start in range(0, len(ordered), PAGE):
        some = FlowFilter(id=FlowFilterId(any_=ordered[start : start + PAGE]))

        async def read(limit: int, offset: int, some: FlowFilter = some) -> list[Flow]:
            return await client.read_flows(flow_filter=some, limit=limit, offset=offset)

        names |= {flow.id: flow.name for flow in (await narrowed(read, "flow")).rows}
    return names
