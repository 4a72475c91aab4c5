"""Cancelling executions, and archiving them."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

import httpx
from fastapi import APIRouter, HTTPException, Request
from prefect.exceptions import PrefectException
from pydantic import BaseModel, Field

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.events import TERMINAL
from kodosumi_prefect.panel.accounts.requester import CurrentUser, User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.executions.cancellation import NotCancelledError, cancel
from kodosumi_prefect.panel.executions.rows import Row
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.state import Execution, Panel, State, wait_for_execution

MOST = 500  # executions of one request
AT_ONCE = 8  # requests to Prefect at once

router = APIRouter(prefix="/outputs", tags=["Executions"])


class Chosen(BaseModel):
    """Executions to archive."""

    fid: Annotated[list[UUID], Field(min_length=1, max_length=MOST)]


class PutAway(BaseModel):
    """What became of each."""

    deletes: list[UUID]
    failed: dict[str, str] = Field(description="fid to the reason why it is still there")


@router.post(
    "/{fid}/cancel",
    summary="Cancel an execution, keep its record",
    status_code=202,
    responses=problems(404, 409, 502),
)
async def cancel_execution(panel: Panel, user: CurrentUser, fid: UUID) -> dict[str, Any]:
    """Ask Prefect to cancel the flow run; its hooks run, then it is killed.

    Answers at once with the state that Prefect gave the run; the stream has the rest. 409 if
    the run is over, 404 if nobody knows it, 502 if Prefect does not answer.
    """
    if not user.operator:
        # Operators also cancel runs that nobody recorded yet, and that so have no owner.
        _require_own(user, await wait_for_execution(panel, fid, 0.0, user.sees(panel.settings)))
    try:
        state = await cancelled(panel, fid)
    except LookupError as exc:
        raise HTTPException(404, str(exc)) from exc
    except NotCancelledError as exc:
        raise HTTPException(409, str(exc)) from exc
    return {"fid": str(fid), "state": state}


@router.delete(
    "/{fid}", summary="Archive an execution", status_code=204, responses=problems(404, 502)
)
async def put_away(panel: Panel, user: CurrentUser, execution: Execution) -> None:
    """Cancels it if it runs, then takes it out of all lists; its record stays.

    502 if it runs and Prefect does not answer.
    """
    _require_own(user, execution)
    await end(panel, execution)
    await panel.reader.rows("set_archived", fids=[execution["fid"]], archived=True)


@router.delete("", summary="Archive several executions", responses=problems(400, 413))
async def put_all_away(
    request: Request, panel: Panel, user: CurrentUser, chosen: Chosen
) -> PutAway:
    """As for one; those that cannot be archived are listed and do not stop the others."""
    visible = user.sees(panel.settings)
    few = asyncio.Semaphore(AT_ONCE)

    async def one(fid: UUID) -> str | None:
        async with few:
            try:
                row = await wait_for_execution(panel, fid, 0.0, visible)
                _require_own(user, row)
                await end(panel, row)
            except HTTPException as exc:
                return str(exc.detail)
        return None

    fids = list(dict.fromkeys(chosen.fid))
    troubles = dict(zip(fids, await asyncio.gather(*map(one, fids)), strict=True))
    ended = [str(fid) for fid, trouble in troubles.items() if trouble is None]
    done = await panel.reader.rows("set_archived", fids=ended, archived=True) if ended else []
    for fid, trouble in troubles.items():
        outcome = Outcome.OK if trouble is None else Outcome.REFUSED
        record(request, Action.ARCHIVE, Target("execution", str(fid)), outcome=outcome)
    return PutAway(
        deletes=[UUID(row["fid"]) for row in done],
        failed={str(fid): trouble for fid, trouble in troubles.items() if trouble is not None},
    )


async def end(panel: State, execution: Row) -> None:
    """Cancel an execution that is not over; one that Prefect says is over, or forgot, is."""
    if execution["status"] in TERMINAL:
        return
    try:
        await cancelled(panel, UUID(execution["fid"]))
    except (LookupError, NotCancelledError):
        return


async def cancelled(panel: State, fid: UUID) -> str:
    """Ask Prefect to cancel a run; the name of its state now.

    Raises:
        HTTPException: 502, Prefect is not known or does not answer.
        LookupError: Prefect has no such flow run.
        NotCancelledError: it is over, or Prefect's rules forbid it.
    """
    access = prefect_access(panel.settings)
    if access is None:
        raise HTTPException(502, "no Prefect is configured; set PREFECT_API_URL")
    try:
        with access.in_force():
            return await cancel(fid, "Cancelled in the panel.")
    except (httpx.HTTPError, PrefectException) as exc:
        said = " ".join(str(exc).split()) or type(exc).__name__
        raise HTTPException(502, f"Prefect at {access.url} did not answer: {said[:200]}") from exc


def _require_own(user: User, execution: Row) -> None:
    if not user.owns(execution["owner"]):
        raise HTTPException(403, "only its owner and operators may do this to an execution")
