"""Prefect deployments that people can find and launch beside services."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterId,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkPoolFilterType,
)
from prefect.client.schemas.objects import Flow
from prefect.client.schemas.responses import DeploymentResponse

from kodosumi_prefect.events import clean
from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.listings import PAGE, narrowed
from kodosumi_prefect.panel.services.register.address import PREFECT, of_deployment
from kodosumi_prefect.panel.services.register.reading import ListedEndpoint, SourceError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import ENDPOINT_LABEL, POOL_TYPE

ANY = "*"
MOST = 5000  # deployments


def takes_deployments(settings: Settings) -> bool:
    """Whether any deployments are to be listed."""
    return settings.register_work_pools != [] or bool(settings.register_tags)


async def find(settings: Settings) -> list[ListedEndpoint]:
    """The deployments that ``register_work_pools`` and ``register_tags`` choose.

    Those of services' endpoints are left out: their services stand there themselves.

    Raises:
        SourceError: Prefect is away.
    """
    try:
        async with prefect_api(settings) as client:
            known: dict[UUID, DeploymentResponse] = {}
            for where in _where(settings):
                async for deployment in _read(client, where):
                    known[deployment.id] = deployment
            unlabelled = [one for one in known.values() if ENDPOINT_LABEL not in (one.labels or {})]
            names = await _flow_names(client, sorted({one.flow_id for one in unlabelled}))
    except LaunchError as exc:
        raise SourceError(exc.detail, away=True) from exc
    return [_endpoint(one, names[one.flow_id]) for one in unlabelled if one.flow_id in names]


def _where(settings: Settings) -> list[dict[str, Any]]:
    """Filters for Prefect, one after the other: it joins those of one question by AND."""
    pools = settings.register_work_pools
    chosen: list[dict[str, Any]] = []
    if pools is None:
        chosen.append(
            {"work_pool_filter": WorkPoolFilter(type=WorkPoolFilterType(any_=[POOL_TYPE]))}
        )
    elif ANY in pools:
        return [{}]
    elif pools:
        chosen.append({"work_pool_filter": WorkPoolFilter(name=WorkPoolFilterName(any_=pools))})
    if settings.register_tags:
        tags = DeploymentFilterTags(any_=settings.register_tags)
        chosen.append({"deployment_filter": DeploymentFilter(tags=tags)})
    return chosen


async def _read(client: PrefectClient, where: dict[str, Any]) -> AsyncIterator[DeploymentResponse]:
    async def read(limit: int, offset: int) -> list[DeploymentResponse]:
        return await client.read_deployments(limit=limit, offset=offset, **where)

    for offset in range(0, MOST, PAGE):
        page = await narrowed(read, "deployment", offset=offset)
        for deployment in page.rows:
            yield deployment
        if page.last:
            return


async def _flow_names(client: PrefectClient, ids: list[UUID]) -> dict[UUID, str]:
    names: dict[UUID, str] = {}
    for start in range(0, len(ids), PAGE):
        chosen = FlowFilter(id=FlowFilterId(any_=ids[start : start + PAGE]))

        async def read(limit: int, offset: int, chosen: FlowFilter = chosen) -> list[Flow]:
            return await client.read_flows(flow_filter=chosen, limit=limit, offset=offset)

        for flow in (await narrowed(read, "flow")).rows:
            names[flow.id] = flow.name
    return names


def _endpoint(deployment: DeploymentResponse, flow: str) -> ListedEndpoint:
    return ListedEndpoint(
        method="GET",
        url=of_deployment(flow, deployment.name),
        base_url=PREFECT,
        deployment_id=str(deployment.id),
        summary=clean(f"{flow}/{deployment.name}"),
        description=clean(deployment.description) if deployment.description else None,
        version=clean(deployment.version) if deployment.version else None,
        tags=[clean(tag) for tag in deployment.tags],
    )
