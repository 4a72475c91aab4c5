"""Questions of runs to humans: which are open, their forms, and answering them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from kodosumi_prefect.http.body import read_body
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.locks.actions import (
    ClosedLockError,
    Desk,
    facts_of,
    item_of,
    signer,
)
from kodosumi_prefect.panel.services.calls import own_url
from kodosumi_prefect.panel.web.answers import Answered, Facts, OpenLocks
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import Lid, Panel
from kodosumi_prefect.refusals import NotFoundError
from kodosumi_prefect.spooler.open_locks import LONGEST_ID
from kodosumi_prefect.vocabulary import SIGNATURE_HEADER

MOST = 500  # locks of one answer

ASKED = problems(403, 404, 502, 504)
BODY = {
    "requestBody": {
        "content": {
            kind: {"schema": {"type": "object", "additionalProperties": True}}
            for kind in ("application/json", "application/x-www-form-urlencoded")
        }
    }
}

router = APIRouter(tags=["Locks"])


@router.get("/locks", summary="Open locks that you may answer", responses=answers(OpenLocks))
async def locks(
    panel: Panel,
    user: CurrentUser,
    pp: Annotated[int, Query(ge=1, le=MOST, description="Locks per page.")] = 50,
    offset: Annotated[
        str | None,
        Query(
            max_length=LONGEST_ID,
            pattern=r"^[\w.:-]+$",
            description="The `offset` of the previous page.",
        ),
    ] = None,
) -> dict[str, Any]:
    """Newest first; `opened` and `expires` in seconds since 1970.

    `elements` is the form if the run brought it, else null: its service has it then.
    """
    rows = await Locks(panel.reader).open(owner=user.limited_to, before=offset, limit=pp + 1)
    page_rows = rows[:pp]
    return {
        "items": [item_of(row) for row in page_rows],
        "offset": page_rows[-1].lid if len(rows) > pp else None,
    }


@router.get("/lock/{fid}/{lid}", summary="A lock's form", responses=ASKED)
async def elements(
    panel: Panel, user: CurrentUser, request: Request, fid: UUID, lid: Lid
) -> list[dict[str, Any]]:
    """Its elements; empty without a form: then any JSON object is an answer.

    404 also if it was answered or has expired.
    """
    desk = Desk(panel, user, own_url(request, panel.settings))
    try:
        return await desk.elements(await desk.open(str(fid), lid))
    except ClosedLockError as exc:
        raise NotFoundError(exc.detail) from exc


@router.post(
    "/lock/{fid}/{lid}",
    summary="Answer a lock",
    responses=answers(Answered) | ASKED | problems(400, 409, 413, 415),
    openapi_extra=BODY,
)
async def answer(
    panel: Panel, user: CurrentUser, request: Request, fid: UUID, lid: Lid
) -> Response:
    """`{"result"}`, and the run continues with it; or `{"errors", "elements"}`, and it waits on.

    409 if somebody has answered it, 404 if it has expired or its run is over.
    """
    desk = Desk(panel, user, own_url(request, panel.settings))
    entry = record(request, Action.LOCK_ANSWER, Target("lock", lid), fid=str(fid))
    try:
        lock = await desk.open(str(fid), lid)
        filled = await desk.fill_in(lock, await read_body(request))
    except ClosedLockError as exc:
        if exc.answered:
            raise
        raise NotFoundError(exc.detail) from exc
    if filled.errors is not None:
        entry.outcome = Outcome.REFUSED
        return JSONResponse({"errors": filled.errors, "elements": filled.elements})
    return JSONResponse({"result": filled.result})


@router.get(
    "/lock/{fid}/{lid}/facts",
    summary="What a service has to know of a lock",
    responses=answers(Facts) | problems(403, 404, 409),
)
async def facts(panel: Panel, request: Request, fid: UUID, lid: Lid) -> dict[str, Any]:
    """`{name, data, inputs, expires}`; for services, by the signature of the call they answer."""
    user = getattr(request.state, "user", None)
    if not isinstance(user, User):
        user = signer(panel, request.headers.get(SIGNATURE_HEADER, ""), str(fid), lid)
    desk = Desk(panel, user, own_url(request, panel.settings))
    return facts_of(await desk.open(str(fid), lid))
