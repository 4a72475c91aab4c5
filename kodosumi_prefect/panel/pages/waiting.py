"""Questions of runs to people."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from kodosumi_prefect.panel.auth.user import CurrentUser
from kodosumi_prefect.panel.jinja import page
from kodosumi_prefect.panel.state import Panel
from kodosumi_prefect.spooler.locks import Locks

router = APIRouter(include_in_schema=False)


@router.get("/waiting")
async def shown(request: Request, user: CurrentUser) -> Response:
    """The page."""
    return page(request, "waiting.html", {})


@router.get("/waiting/count")
async def count(panel: Panel, user: CurrentUser) -> Response:
    """How many questions wait for whoever asks; empty for none."""
    owner = None if user.operator else user.id
    rows = await Locks(panel.reader).open(owner=owner, before=None, limit=100)
    return HTMLResponse("99+" if len(rows) > 99 else str(len(rows) or ""))
