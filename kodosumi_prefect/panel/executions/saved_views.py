"""Views of the list that accounts gave a name, their own and those that are shared."""

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from kodosumi_prefect.database.rows.executions import SavedView
from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, User
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ForbiddenError, InvalidError, NotFoundError

MOST = 50  # views of an account
LISTED = 200  # own and shared ones on a page
LONGEST_NAME = 60  # characters
LONGEST_QUERY = 4000  # characters
# What a view keeps of an address; where in the list somebody was is no part of it.
KEPT = frozenset(
    ("q", "status", "flow", "deployment", "owner", "tag", "last", "zone", "from", "to", "sort")
)

router = APIRouter(include_in_schema=False)


async def saved(panel: State, user: User) -> list[dict[str, Any]]:
    """What an account may choose from; ``mine``: it may delete it."""
    views = await panel.reader.rows_of(SavedView, "saved_views", account=user.id, limit=LISTED)
    return [
        {
            "id": view.id,
            "name": view.name,
            "address": f"?{view.query}" if view.query else "",
            "shared": view.shared,
            "by": None if view.owner == user.id else view.username,
            "mine": view.owner == user.id or user.operator,
        }
        for view in views
    ]


@router.post("/executions/views")
async def save(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    name: Annotated[str, Form(max_length=1000)],
    query: Annotated[str, Form(max_length=LONGEST_QUERY)] = "",
    shared: Annotated[bool, Form()] = False,
) -> Response:
    """Name a filter and order; one of the same name is replaced."""
    called = " ".join(clean(name).split())[:LONGEST_NAME]
    if not called:
        raise InvalidError("name is empty; give the view a name")
    if shared and not user.operator:
        raise ForbiddenError("only operators share views with everybody")
    kept = _kept(query)
    done = await panel.reader.execute(
        "save_view", account=user.id, name=called, query=kept, shared=shared, most=MOST
    )
    if not done:
        raise InvalidError(f"you have {MOST} views already; delete one first")
    return _back(request, kept)


@router.post("/executions/views/{view}/delete")
async def delete(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    view: UUID,
    query: Annotated[str, Form(max_length=LONGEST_QUERY)] = "",
) -> Response:
    """Delete a view, and back to the list as it was."""
    done = await panel.reader.execute(
        "forget_view", id=str(view), account=user.id, operator=user.operator
    )
    if not done:
        raise NotFoundError(f"there is no view {view} of yours")
    return _back(request, _kept(query))


def _kept(query: str) -> str:
    return urlencode([pair for pair in parse_qsl(clean(query).lstrip("?")) if pair[0] in KEPT])


def _back(request: Request, query: str) -> Response:
    root = request.scope.get("root_path", "").rstrip("/")
    return RedirectResponse(f"{root}/executions{'?' if query else ''}{query}", 303)
