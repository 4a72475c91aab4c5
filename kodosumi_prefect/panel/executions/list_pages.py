"""The list of executions, and doing something to many of them."""

import time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field

from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.executions.bulk import Action, act
from kodosumi_prefect.panel.executions.filter import STATUSES, FilterOfRequest
from kodosumi_prefect.panel.executions.headings import listed
from kodosumi_prefect.panel.services.launch_keys import checked_key
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.stream.listing import CursorError
from kodosumi_prefect.vocabulary import IDEMPOTENCY_HEADER

ROWS = 25  # executions on a page of the list
CHUNK = 20  # executions that one request does something to
COUNTED = 100_000  # more are not counted

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> Response:
    return RedirectResponse("executions")


@router.get("/executions")
async def executions(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    filter_: FilterOfRequest,
    before: UUID | None = None,
    after: UUID | None = None,
    fragment: Annotated[bool, Query()] = False,
) -> Response:
    """The list, newest first; as ``fragment`` only its rows.

    A page of ``after`` that is not full is the first one, and is shown as that.
    """
    visible = user.sees(panel.settings)
    _, counter = await panel.reader.changes(None)
    if before is not None and after is not None:
        raise HTTPException(422, "give before or after, not both")
    try:
        rows = await panel.reader.timeline(
            filter_=filter_.criteria,
            before=str(before) if before else None,
            after=str(after) if after else None,
            limit=ROWS + 1,
            visible=visible,
        )
        if after is not None and len(rows) <= ROWS:
            after = None
            rows = await panel.reader.timeline(
                filter_=filter_.criteria, limit=ROWS + 1, visible=visible
            )
    except CursorError as exc:
        raise HTTPException(422, f"{exc}; it may have been deleted, start with the newest") from exc
    page_rows = rows[1:] if after else rows[:ROWS]
    older = bool(after) or len(rows) > ROWS
    items = [listed(row) for row in page_rows]
    context: dict[str, Any] = {
        "rows": items,
        "longest": max((item["runtime"] or 0.0 for item in items), default=0.0),
        "filter": filter_,
        "first": before is None and after is None,
        "older": page_rows[-1].fid if older and page_rows else None,
        "newer": page_rows[0].fid if (before or after) and page_rows else None,
        "counter": counter,
        "now": time.time(),
        "operator": user.operator,
    }
    if fragment:
        return page(request, "_rows.html", context)
    context["flows"] = await panel.reader.flow_names(visible)
    context["statuses"] = STATUSES
    context["people"] = await panel.identification.accounts.all() if user.operator else []
    return page(request, "executions.html", context)


class Counted(BaseModel):
    """How many executions match a filter."""

    count: int
    more: bool = Field(description="There are more, not counted here.")


@router.get("/executions/count")
async def count(panel: Panel, user: CurrentUser, filter_: FilterOfRequest) -> Counted:
    """How many a filter matches."""
    number = await panel.reader.count(filter_.criteria, user.sees(panel.settings), limit=COUNTED)
    return Counted(count=number, more=number == COUNTED)


class Wish(BaseModel):
    """What to do, and to which executions.

    Attributes:
        fids: these; None for all that the address's filter matches.
        before: where the request before left off.
    """

    action: Action
    fids: Annotated[list[UUID], Field(max_length=CHUNK)] | None = None
    before: UUID | None = None


@router.post("/executions/bulk")
async def bulk(
    request: Request, panel: Panel, user: CurrentUser, filter_: FilterOfRequest, wish: Wish
) -> dict[str, Any]:
    """Do it to the next few; ``next`` is where to go on, null at the end."""
    visible = user.sees(panel.settings)
    more = False
    if wish.fids is None:
        try:
            rows = await panel.reader.timeline(
                filter_=filter_.criteria,
                before=str(wish.before) if wish.before else None,
                limit=CHUNK + 1,
                visible=visible,
            )
        except CursorError as exc:
            raise HTTPException(422, str(exc)) from exc
        more, rows = len(rows) > CHUNK, rows[:CHUNK]
        missing = []
    else:
        pairs = [(str(fid), await panel.reader.status(str(fid), visible)) for fid in wish.fids]
        rows = [row for _, row in pairs if row is not None]
        missing = [fid for fid, row in pairs if row is None]
    key = checked_key(request.headers.getlist(IDEMPOTENCY_HEADER))
    troubles = await act(panel, user, wish.action, rows, journal(request), key)
    failed = [trouble._asdict() for trouble in troubles]
    failed += [{"fid": fid, "title": fid, "why": "there is no such execution"} for fid in missing]
    return {
        "done": len(rows) - len(troubles),
        "failed": failed,
        "next": rows[-1].fid if more else None,
    }
