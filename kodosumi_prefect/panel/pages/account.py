"""Your own account."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from kodosumi_prefect.panel.auth.user import CurrentUser
from kodosumi_prefect.panel.jinja import page

router = APIRouter(include_in_schema=False)


@router.get("/account")
async def shown(request: Request, user: CurrentUser) -> Response:
    """The page."""
    return page(request, "account.html", {})
