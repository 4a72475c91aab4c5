"""Questions of runs to humans: which are open, their forms, and answering them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from kodosumi_prefect.http.body import read_body
from kodosumi_prefect.locks.answering import Given, Locks
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.locks.actions import (
    GUEST,
    ClosedLockError,
    facts_of,
    history,
    item_of,
    signer,
)
from kodosumi_prefect.panel.locks.desks import desk_of
from kodosumi_prefect.panel.locks.linking import new_link
from kodosumi_prefect.panel.web.answers import (
    Answered,
    AnswerLink,
    Asked,
    Facts,
    LockHistory,
    OpenLocks,
)
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


class WantedLink(BaseModel):
    """For whom a link is."""

    account: str | None = Field(None, max_length=200, description="The name of an account.")
    recipient: str | None = Field(
        None, max_length=200, description="In words, of somebody without an account."
    )
    code: bool = Field(False, description="Whether a short code is asked for beside the form.")


class Delegation(BaseModel):
    """To whom a lock is handed on."""

    to: str = Field(min_length=1, max_length=200, description="The name of an account.")


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
    mine: Annotated[
        bool, Query(description="For operators: only those that you are asked yourself.")
    ] = False,
) -> dict[str, Any]:
    """Newest first; `opened` and `expires` in seconds since 1970.

    `elements` is the form if the run brought it, else null: its service has it then.
    """
    account = user.id if mine else user.limited_to
    rows = await Locks(panel.reader).open(account=account, before=offset, limit=pp + 1)
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
    desk = desk_of(request, panel, user)
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

    409 if somebody has answered it, 404 if it has expired or its run is over. A lock that needs
    several people tells `answers` and `quorum`; its run continues with the last one.
    """
    desk = desk_of(request, panel, user)
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
    return JSONResponse({"result": filled.result} | _several(filled.given))


@router.post(
    "/lock/{fid}/{lid}/delegate",
    summary="Hand a lock on",
    responses=answers(Asked) | problems(403, 404, 409, 422),
)
async def delegate(
    panel: Panel, user: CurrentUser, request: Request, fid: UUID, lid: Lid, to: Delegation
) -> dict[str, str]:
    """Have another account asked in your place, or, by an operator, in place of all.

    You may not answer it any more then, unless you are an operator.
    """
    desk = desk_of(request, panel, user)
    entry = record(request, Action.LOCK_DELEGATE, Target("lock", lid), fid=str(fid))
    name = await desk.delegate(str(fid), lid, to.to)
    entry.details["to"] = name
    return {"asked": name}


@router.post(
    "/lock/{fid}/{lid}/links",
    status_code=201,
    summary="Make a link with which a lock is answered",
    responses=answers(AnswerLink) | problems(403, 404, 409),
)
async def make_link(
    panel: Panel, user: CurrentUser, request: Request, fid: UUID, lid: Lid, wanted: WantedLink
) -> AnswerLink:
    """For one recipient, who answers without signing in: an account that is asked, or anybody.

    Whoever may answer makes links; where several people have to, only operators do, and only for
    accounts. The link, and its code, are not shown again. 409 if the run does not allow links, the
    setting `answer_links` is off, the form takes files, or `panel_url` is a loopback address.
    """
    desk = desk_of(request, panel, user)
    entry = record(request, Action.LINK_CREATE, Target("lock", lid), fid=str(fid))
    lock = await desk.open(str(fid), lid)
    link = await new_link(
        panel,
        user,
        lock,
        account=wanted.account,
        recipient=wanted.recipient,
        with_code=wanted.code,
    )
    entry.details |= {"recipient": link.recipient, "code": wanted.code}
    return AnswerLink(**link._asdict())


@router.get(
    "/lock/{fid}/{lid}/steps",
    summary="What was done about a lock",
    responses=answers(LockHistory) | problems(403, 404),
)
async def steps(
    panel: Panel, user: CurrentUser, request: Request, fid: UUID, lid: Lid
) -> dict[str, Any]:
    """Who was asked, reminded, asked then too, handed it on and answered, when and how."""
    lock = await desk_of(request, panel, user).look(str(fid), lid)
    return await history(panel.reader, lock)


@router.get(
    "/lock/{fid}/{lid}/facts",
    summary="What a service has to know of a lock",
    responses=answers(Facts) | problems(403, 404, 409),
)
async def facts(panel: Panel, request: Request, fid: UUID, lid: Lid) -> dict[str, Any]:
    """`{name, data, inputs, expires}`; for services, by the signature of the call they answer.

    Who asks as a person, and may not see the run, gets null for its `inputs`.
    """
    user = getattr(request.state, "user", None)
    in_person = isinstance(user, User)
    if not isinstance(user, User):
        user = signer(panel, request.headers.get(SIGNATURE_HEADER, ""), str(fid), lid)
    # That somebody without an account may answer was looked at before the service was asked.
    desk = desk_of(request, panel, user, "" if user.id.startswith(GUEST) else None)
    found = facts_of(await desk.open(str(fid), lid))
    if in_person and not await desk.sees(str(fid)):
        found["inputs"] = None
    return found


def _several(given: Given) -> dict[str, int]:
    """How many answers there are, of a lock that needs several; Kodosumi's have no word of it."""
    return {} if given.quorum == 1 else {"answers": given.answers, "quorum": given.quorum}
