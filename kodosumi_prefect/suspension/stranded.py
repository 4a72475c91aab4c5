"""Suspended runs that no worker can have go on: their deployment, or its work pool, was deleted."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Crashed

from kodosumi_prefect.listings import deployments_by_id
from kodosumi_prefect.suspension import awaiting

GONE = (
    "The {what} of this run was deleted while the run waited without a process, so that no worker "
    "can have it go on. What was answered is in its record."
)


async def crash_stranded(client: PrefectClient, runs: Collection[FlowRun]) -> set[UUID]:
    """Report those runs Crashed that wait suspended and that no worker can have go on.

    Prefect schedules such a run when it is resumed all the same, and has each worker that looks
    for runs refuse it, for ever; or no worker sees it.

    Returns:
        The ids of those that are Crashed by this.

    Raises:
        httpx.HTTPError: Prefect is away.
    """
    suspended = [run for run in runs if awaiting.suspended_by_us(run.state)]
    if not suspended:
        return set()
    ids = {run.deployment_id for run in suspended if run.deployment_id is not None}
    known = await deployments_by_id(client, list(ids))
    there = known.rows.keys() | known.unreadable
    crashed: set[UUID] = set()
    for run in suspended:
        if run.deployment_id is None or run.deployment_id not in there:
            what = "deployment"
        elif run.work_queue_id is None and run.work_pool_name is None:
            what = "work pool"
        else:
            continue
        state: State[Any] = Crashed(message=GONE.format(what=what))
        answer = await client.set_flow_run_state(run.id, state)
        if answer.status is SetStateStatus.ACCEPT:
            crashed.add(run.id)
    return crashed
