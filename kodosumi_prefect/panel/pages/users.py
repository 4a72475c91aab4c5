"""Accounts, for operators."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from kodosumi_prefect.panel.auth.user import Operator
from kodosumi_prefect.panel.jinja import page

router = APIRouter(include_in_schema=False)


@router.get("/users")
async def shown(request: Request, user: Operator) -> Response:
    """The page."""
    return page(request, "users.html", {})
