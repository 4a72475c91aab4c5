"""Teams, for operators, as a page."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from kodosumi_prefect.panel.accounts.permissions import Operator, OperatorInPerson
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.html.parts import part_or_page, sentence
from kodosumi_prefect.panel.teams import actions
from kodosumi_prefect.panel.teams.teams import Teams
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import RefusedError

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form()]
Names = Annotated[list[str], Form()]


@router.get("/teams")
async def whole(request: Request, panel: Panel, _: Operator) -> Response:
    """All teams, and a form for another one."""
    return await _list(request, panel)


@router.post("/teams")
async def add(
    request: Request,
    panel: Panel,
    _: OperatorInPerson,
    name: Text = "",
    members: Names = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Make a team."""
    try:
        team = await actions.add_team(panel.reader, name, members, journal(request))
    except RefusedError as exc:
        typed = {"name": name, "members": members}
        return await _list(request, panel, {"": sentence(exc.detail)}, typed=typed)
    return await _list(request, panel, notice=f"“{team.name}” is added.")


@router.post("/teams/{name}")
async def change(
    request: Request,
    panel: Panel,
    _: OperatorInPerson,
    name: str,
    new_name: Text = "",
    members: Names = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Change name and members of a team."""
    try:
        team = await actions.change_team(
            panel.reader, name, journal(request), new_name=new_name or None, members=members
        )
    except RefusedError as exc:
        return await _list(request, panel, {name: sentence(exc.detail)})
    return await _list(request, panel, notice=f"“{team.name}” is saved.")


@router.post("/teams/{name}/delete")
async def remove(request: Request, panel: Panel, _: OperatorInPerson, name: str) -> Response:
    """Delete a team."""
    try:
        await actions.remove_team(panel.reader, name, journal(request))
    except RefusedError as exc:
        return await _list(request, panel, {name: sentence(exc.detail)})
    return await _list(request, panel, notice=f"“{name}” is deleted.")


async def _list(
    request: Request,
    panel: State,
    wrong: dict[str, str] | None = None,
    *,
    typed: dict[str, Any] | None = None,
    notice: str | None = None,
) -> Response:
    context = {
        "teams": await Teams(panel.reader).all(),
        "accounts": [each.name for each in await panel.identification.accounts.all()],
        "wrong": wrong or {},
        "typed": typed or {},
        "notice": notice,
    }
    return part_or_page(request, "teams.html", "_teams_part.html", context, wrong=bool(wrong))
