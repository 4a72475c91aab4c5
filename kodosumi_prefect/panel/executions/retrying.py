"""Asking Prefect for a further attempt of a flow run that is over."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas import OrchestrationResult
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

from kodosumi_prefect.listings import flow_run
from kodosumi_prefect.panel.executions.cancellation import PREFECT_ANSWER_SECONDS, UnknownRunError
from kodosumi_prefect.refusals import ConflictError

NO_DEPLOYMENT = "it has no deployment, so nobody would pick it up; run it again instead"
NO_PASSWORDS = "its passwords were deleted when it ended; run it again, and type them anew"


class NotRetriedError(ConflictError):
    """A run cannot be retried; says why in one line."""


async def retry(fid: UUID, message: str) -> str:
    """Have a flow run that is over begin anew, as Prefect's own "Retry" does.

    It stays the same flow run with the same parameters, at its next attempt.

    Returns:
        The name of its state now: ``AwaitingRetry``.

    Raises:
        UnknownRunError: Prefect has no such flow run.
        NotRetriedError: it is not over, nobody would pick it up, or Prefect's rules forbid it.
        httpx.HTTPError: Prefect does not answer.
    """
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS), get_client() as client:
            return await _retry(client, fid, message)
    except TimeoutError as exc:
        raise httpx.ReadTimeout(
            f"no answer within {PREFECT_ANSWER_SECONDS:g} s; it may still retry the run"
        ) from exc


async def _retry(client: PrefectClient, fid: UUID, message: str) -> str:
    try:
        run = await flow_run(client, fid)
    except ObjectNotFound as exc:
        raise UnknownRunError(f"Prefect has no flow run {fid}") from exc
    if run is None:
        raise NotRetriedError(f"{fid} cannot be retried: Prefect cannot read it")
    if run.state is None or not run.state.is_final():
        state = run.state.name if run.state is not None else "without a state"
        raise NotRetriedError(f"{fid} cannot be retried: it is not over, but {state}")
    if run.deployment_id is None:
        raise NotRetriedError(f"{fid} cannot be retried: {NO_DEPLOYMENT}")
    try:
        await client.read_deployment(run.deployment_id)
    except ObjectNotFound:
        raise NotRetriedError(
            f"{fid} cannot be retried: its deployment was deleted, so nobody would pick it up"
        ) from None
    answer: OrchestrationResult[Any] = await client.set_flow_run_state(
        fid, AwaitingRetry(message=message)
    )
    if answer.status.value != "ACCEPT":
        why = getattr(answer.details, "reason", None) or answer.status.value
        raise NotRetriedError(f"{fid} cannot be retried: {why}")
    return (answer.state.name if answer.state else None) or "AwaitingRetry"
