"""Addresses of Kodosumi's own pages, which lead to ours.

Those that launch and answer are with the pages that do the same.
"""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.web.proxy import own_path

# Its pages, and ours that show the same.
PAGES = {
    "/admin": "services",
    "/admin/flow": "services",
    "/admin/routes": "system",
    "/admin/timeline/view": "executions",
    "/admin/dashboard": "executions",
    "/timeline": "executions",
}

router = APIRouter(include_in_schema=False)


def redirect(request: Request, path: str) -> Response:
    """Lead to a page of the panel, with the query that was sent along.

    Arguments:
        path: below the panel's root, without a slash before.
    """
    root = str(request.scope.get("root_path", "")).rstrip("/")
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{root}/{path}{query}", 302)


async def _page(request: Request, _: CurrentUser) -> Response:
    return redirect(request, PAGES[own_path(request.scope)])


for _address in PAGES:
    router.add_api_route(_address, _page, methods=["GET"])


@router.get("/admin/status/view/{fid}")
async def execution(request: Request, _: CurrentUser, fid: UUID) -> Response:
    """One execution."""
    return redirect(request, f"executions/{fid}")


@router.get("/schema/openapi.json")
async def document(request: Request) -> Response:
    """The panel's OpenAPI document."""
    return redirect(request, "openapi.json")


@router.get("/schema")
async def schema(request: Request) -> Response:
    """The pages that show it."""
    return redirect(request, "docs")
