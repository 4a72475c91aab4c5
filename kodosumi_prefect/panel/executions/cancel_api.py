"""Cancelling executions, retrying them, and archiving them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.executions import actions
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Execution, Panel

MOST = 500  # executions of one request

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
    state = await actions.cancel_execution(panel, user, fid)
    return {"fid": str(fid), "state": state}


@router.post(
    "/{fid}/retry",
    summary="Retry an execution that is over",
    status_code=202,
    responses=problems(404, 409, 502),
)
async def retry_execution(panel: Panel, user: CurrentUser, execution: Execution) -> dict[str, Any]:
    """Have Prefect run the same flow run again, with the same parameters, as its next attempt.

    Answers at once with the state that Prefect gave the run; the stream goes on with the attempt.
    409 if it is not over or nobody would pick it up: runs without a deployment are run again
    instead. 502 if Prefect does not answer.
    """
    state = await actions.retry_execution(panel, user, execution)
    return {"fid": execution.fid, "state": state}


@router.delete(
    "/{fid}", summary="Archive an execution", status_code=204, responses=problems(404, 502)
)
async def put_away(panel: Panel, user: CurrentUser, execution: Execution) -> None:
    """Cancels it if it runs, then takes it out of all lists; its record stays.

    502 if it runs and Prefect does not answer.
    """
    await actions.archive(panel, user, execution)


@router.delete("", summary="Archive several executions", responses=problems(400, 413))
async def put_all_away(
    request: Request, panel: Panel, user: CurrentUser, chosen: Chosen
) -> PutAway:
    """As for one; those that cannot be archived are listed and do not stop the others."""
    fids = list(dict.fromkeys(chosen.fid))
    archived = await actions.archive_all(panel, user, fids)
    for fid in fids:
        outcome = Outcome.REFUSED if fid in archived.failures else Outcome.OK
        record(request, Action.ARCHIVE, Target("execution", str(fid)), outcome=outcome)
    return PutAway(
        deletes=archived.fids,
        failed={str(fid): why for fid, why in archived.failures.items()},
    )
