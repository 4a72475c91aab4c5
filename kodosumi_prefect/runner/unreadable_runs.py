"""Scheduled runs that Prefect's server cannot serialize, and that keep a pool from its work."""

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.logging import get_logger
from prefect.states import Crashed

from kodosumi_prefect.listings import PAGE, flow_runs
from kodosumi_prefect.vocabulary import POOL_TYPE

logger = get_logger(POOL_TYPE)  # shown where Prefect's own are


async def crash_unreadable(client: PrefectClient, pool: str) -> bool:
    """End the scheduled runs of a pool that no worker can ever fetch.

    While there is one, Prefect's server gives no worker any run that is due.

    Returns:
        Whether there were any.
    """
    any_ended = False
    scheduled = FlowRunFilterStateType(any_=[StateType.SCHEDULED])
    offset = 0
    while True:
        page = await flow_runs(
            client,
            offset=offset,
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=scheduled)),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        )
        for fid in page.unreadable:
            logger.error(
                "flow run %s is set to crashed: Prefect's server cannot serialize it, and "
                "while it is scheduled no worker of pool %s gets any run",
                fid,
                pool,
            )
            why = "Prefect's server cannot read this run's parameters, so nobody can run it."
            await client.set_flow_run_state(fid, Crashed(message=why), force=True)
            any_ended = True
        if page.last:
            return any_ended
        offset += PAGE
