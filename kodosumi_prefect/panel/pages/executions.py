"""The list of executions."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.auth.user import CurrentUser
from kodosumi_prefect.panel.jinja import page
from kodosumi_prefect.panel.pages.listed import listed
from kodosumi_prefect.panel.routes.timeline import Words
from kodosumi_prefect.panel.state import Panel

ROWS = 25  # executions on a page of the list

router = APIRouter(include_in_schema=False)

Fragment = Annotated[bool, Query()]


@router.get("/")
async def home() -> Response:
    return RedirectResponse("executions")


@router.get("/executions")
async def executions(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    q: Words = None,
    before: UUID | None = None,
    fragment: Fragment = False,
) -> Response:
    """The list, newest first; as ``fragment`` only its rows."""
    _, counter = await panel.reader.changes(None)
    rows = await panel.reader.timeline(
        query=clean(q or ""),
        before=str(before) if before else None,
        limit=ROWS + 1,
        visible=user.sees(panel.settings),
    )
    shown = rows[:ROWS]
    context = {
        "rows": [listed(row) for row in shown],
        "query": q or "",
        "before": before,
        "older": shown[-1]["fid"] if len(rows) > ROWS else None,
        "counter": counter,
    }
    return page(request, "_rows.html" if fragment else "executions.html", context)
