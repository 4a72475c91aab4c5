"""Asking Prefect to cancel a flow run."""

import asyncio
import math
import time
from collections import OrderedDict
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas import OrchestrationResult
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from kodosumi_prefect.listings import flow_run
from kodosumi_prefect.refusals import ConflictError, NotFoundError

PREFECT_ANSWER_SECONDS = (
    10.0  # seconds that Prefect may take to answer; its client alone waits many minutes
)

REMEMBERED = 10_000  # runs that were cancelled
GRACE = 600.0  # seconds after which a run that goes on may be cancelled once more


class Cancelled:
    """Runs that this panel has had cancelled lately, until they are over.

    Prefect's own word, which the observer records, comes a moment later, or not at all.
    """

    def __init__(self) -> None:
        self._since: OrderedDict[str, float] = OrderedDict()

    def add(self, fid: str) -> None:
        """Remember it."""
        self._since[fid] = time.monotonic()
        self._since.move_to_end(fid)
        if len(self._since) > REMEMBERED:
            self._since.popitem(last=False)

    def discard(self, fid: str) -> None:
        """It is over, or begins anew."""
        self._since.pop(fid, None)

    def __contains__(self, fid: str) -> bool:
        return time.monotonic() - self._since.get(fid, -math.inf) < GRACE


class UnknownRunError(NotFoundError):
    """Prefect has no such flow run."""


class NotCancelledError(ConflictError):
    """Prefect refused the request; says why in one line."""


async def cancel(fid: UUID, message: str) -> str:
    """Have a flow run cancelled; its record is kept.

    A run that nobody executes yet is cancelled at once. One that runs is asked to stop, gets time
    for its hooks and is killed after that; this does not wait for it.

    Returns:
        The name of its state now, such as ``Cancelling``.

    Raises:
        UnknownRunError: Prefect has no such flow run.
        NotCancelledError: it has ended, or Prefect's rules forbid it.
        httpx.HTTPError: Prefect does not answer.
    """
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
            return await _cancel(fid, message)
    except TimeoutError as exc:
        raise httpx.ReadTimeout(
            f"no answer within {PREFECT_ANSWER_SECONDS:g} s; it may still cancel the run, try again"
        ) from exc


async def _cancel(fid: UUID, message: str) -> str:
    async with get_client() as client:
        try:
            answer: OrchestrationResult[Any] = await client.set_flow_run_state(
                fid, Cancelling(message=message)
            )
        except ObjectNotFound as exc:
            raise UnknownRunError(f"Prefect has no flow run {fid}") from exc
        # What has no infrastructure yet, Prefect cancels at once, and calls that a rejection.
        at_once = answer.status.value == "REJECT" and answer.state and answer.state.is_cancelled()
        if answer.status.value != "ACCEPT" and not at_once:
            why = getattr(answer.details, "reason", None) or answer.status.value
            raise NotCancelledError(f"{fid} cannot be cancelled: {why}")
        run = await flow_run(client, fid)
        if run is None:  # it accepted the request, but cannot read the run
            return (answer.state.name if answer.state else None) or ""
        return run.state_name or ""
