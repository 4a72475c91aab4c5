"""The list of executions, and doing something to many of them."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field

from kodosumi_prefect.panel.accounts.cookies import cookie_path
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.executions.bulk import Action, act, given_files
from kodosumi_prefect.panel.executions.headings import rows_of_list
from kodosumi_prefect.panel.executions.list_filter import (
    LOOKS,
    PRESETS,
    SORTS,
    ListFilterOfRequest,
)
from kodosumi_prefect.panel.executions.listings import MOST, Listing
from kodosumi_prefect.panel.executions.overview import BARS, STEPS, overview
from kodosumi_prefect.panel.executions.saved_views import saved
from kodosumi_prefect.panel.services.launch_keys import checked_key
from kodosumi_prefect.panel.web.parameters import MAX_CURSOR, Panel
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.stream.listing import CursorError
from kodosumi_prefect.stream.rows import StoredExecution
from kodosumi_prefect.vocabulary import IDEMPOTENCY_HEADER

ROWS = 25  # executions on a page of the list
CHUNK = 20  # executions that one request does something to
MOST_CHOSEN = 100  # that are chosen one by one, on one page
NAMES = 200  # deployments to choose from
ROWS_COOKIE = "kodosumi_rows"  # how high rows are; one line without it
ROWS_SECONDS = 400 * 86_400  # the longest that browsers keep a cookie
MAX_SECONDS = 1e11  # of a point in time

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> Response:
    return RedirectResponse("executions")


@router.get("/executions")
async def executions(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    filter_: ListFilterOfRequest,
    before: UUID | None = None,
    after: UUID | None = None,
    fragment: Annotated[bool, Query()] = False,
    chart: Annotated[bool, Query()] = False,
    rows: Annotated[Literal["compact", "comfortable"] | None, Query()] = None,
) -> Response:
    """The list; as ``fragment`` only its rows.

    A page of ``after`` that is not full is the first one, and is shown as that.

    Arguments:
        chart: draw the runs over time at once, as a browser without scripts needs it.
        rows: how high they are from now on; a cookie remembers it.
    """
    if not fragment and (address := filter_.spelled_out()) is not None:
        return RedirectResponse(f"executions{address}", 303)
    visible = user.sees(panel.settings)
    listing = Listing(panel.reader, filter_, visible)
    _, counter = await panel.reader.changes(None)
    if before is not None and after is not None:
        raise HTTPException(422, "give before or after, not both")
    try:
        found = await listing.page(
            ROWS + 1,
            before=str(before) if before else None,
            after=str(after) if after else None,
        )
        if after is not None and len(found) <= ROWS:
            after = None
            found = await listing.page(ROWS + 1)
    except CursorError as exc:
        raise HTTPException(
            422, f"{exc}; it may have been deleted, start with the first page"
        ) from exc
    page_rows = found[-ROWS:] if after else found[:ROWS]
    more = bool(after) or len(found) > ROWS
    items = await rows_of_list(panel.reader, page_rows)
    height = rows or request.cookies.get(ROWS_COOKIE)
    context: dict[str, Any] = {
        "rows": items,
        "longest": max((item["runtime"] or 0.0 for item in items), default=0.0),
        "filter": filter_,
        "first": before is None and after is None,
        "older": page_rows[-1].fid if more and page_rows else None,
        "newer": page_rows[0].fid if (before or after) and page_rows else None,
        "counter": counter,
        "now": time.time(),
        "operator": user.operator,
        "comfortable": height == "comfortable",
    }
    if fragment:
        return page(request, "_rows.html", context)
    context["flows"] = await panel.reader.flow_names(visible)
    context["deployments"] = await panel.reader.values(
        "listed_deployments", **visible._asdict(), limit=NAMES
    )
    context["people"] = await panel.identification.accounts.all() if user.operator else []
    context["looks"], context["presets"], context["sorts"] = LOOKS, PRESETS, SORTS
    context["views"] = await saved(panel, user)
    context["overview"] = overview(await listing.over_time(STEPS, BARS), filter_) if chart else None
    answer = page(request, "executions.html", context)
    if rows is not None:
        remember_rows(request, answer, rows)
    return answer


@router.get("/executions/overview")
async def over_time(
    request: Request, panel: Panel, user: CurrentUser, filter_: ListFilterOfRequest
) -> Response:
    """What stands above the list: counts by status, and runs over time."""
    listing = Listing(panel.reader, filter_, user.sees(panel.settings))
    drawn = overview(await listing.over_time(STEPS, BARS), filter_)
    return page(request, "_overview.html", {"overview": drawn, "filter": filter_})


class Changed(BaseModel):
    """What became of the list since a counter."""

    update: list[str] = Field(description="Fids of what is new or changed.")
    new: list[str] = Field(description="Of these, what was recorded since the page was loaded.")
    delete: list[str]
    timestamp: int


@router.get("/executions/changes")
async def changes(
    panel: Panel,
    user: CurrentUser,
    filter_: ListFilterOfRequest,
    since: Annotated[int, Query(ge=0, le=MAX_CURSOR)],
    loaded: Annotated[float, Query(ge=0, le=MAX_SECONDS)] = 0.0,
) -> Changed:
    """As ``/timeline/changes``, of what the page shows."""
    visible = user.sees(panel.settings)
    rows, counter = await panel.reader.changes(since, visible=visible)
    deleted = set(await panel.reader.deleted(since, visible))
    fids = [row.fid for row in rows if row.archived_at is None]
    matching = await Listing(panel.reader, filter_, visible).matching(fids) - deleted
    return Changed(
        update=[row.fid for row in rows if row.fid in matching],
        new=[
            row.fid for row in rows if row.fid in matching and row.created_at.timestamp() >= loaded
        ],
        delete=sorted({row.fid for row in rows}.difference(matching) | deleted),
        timestamp=counter,
    )


class Counted(BaseModel):
    """How many executions match a filter."""

    count: int
    more: bool = Field(description="There are more, not counted here.")


@router.get("/executions/count")
async def count(panel: Panel, user: CurrentUser, filter_: ListFilterOfRequest) -> Counted:
    """How many a filter matches."""
    number = await Listing(panel.reader, filter_, user.sees(panel.settings)).count()
    return Counted(count=number, more=number == MOST)


@router.get("/executions/given")
async def given(
    panel: Panel, user: CurrentUser, fid: Annotated[list[UUID], Query(max_length=MOST_CHOSEN)]
) -> dict[str, str | None]:
    """The files that go along when these are run again, in words; null for none."""
    return {"files": await given_files(panel, user, [str(each) for each in fid])}


class Wish(BaseModel):
    """What to do, and to which executions.

    Attributes:
        fids: these; None for all that the address's filter matches.
        before: where the request before left off.
        with_files: what is run again takes the files along that it was given.
    """

    action: Action
    fids: Annotated[list[UUID], Field(max_length=CHUNK)] | None = None
    before: UUID | None = None
    with_files: bool = True


@router.post("/executions/bulk")
async def bulk(
    request: Request, panel: Panel, user: CurrentUser, filter_: ListFilterOfRequest, wish: Wish
) -> dict[str, Any]:
    """Do it to the next few; ``next`` is where to go on, null at the end."""
    visible = user.sees(panel.settings)
    more = False
    rows: Sequence[StoredExecution]
    if wish.fids is None:
        try:
            # By when they began, which does not change while they are cancelled.
            ordered = filter_._replace(sort="started", descending=True)
            rows = await Listing(panel.reader, ordered, visible).page(
                CHUNK + 1, before=str(wish.before) if wish.before else None
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
    troubles = await act(
        panel, user, wish.action, rows, journal(request), key, with_files=wish.with_files
    )
    failed = [trouble._asdict() for trouble in troubles]
    failed += [{"fid": fid, "title": fid, "why": "there is no such execution"} for fid in missing]
    return {
        "done": len(rows) - len(troubles),
        "failed": failed,
        "next": rows[-1].fid if more else None,
    }


def remember_rows(request: Request, answer: Response, rows: str) -> None:
    """Keep how high rows are in a cookie."""
    answer.set_cookie(
        ROWS_COOKIE,
        rows,
        max_age=ROWS_SECONDS,
        path=cookie_path(request),
        secure=request.url.scheme == "https",
        samesite="lax",
    )
