"""Teams, for operators."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from kodosumi_prefect.panel.accounts.permissions import Operator, OperatorInPerson
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.teams import actions
from kodosumi_prefect.panel.teams.teams import Team, Teams
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Panel

router = APIRouter(prefix="/team", tags=["Teams"])

Name = Annotated[str, Path(max_length=200, description="The team.")]


class TeamOut(BaseModel):
    """Accounts that questions are asked of together, as `team:name`."""

    id: UUID
    name: str
    members: list[str] = Field(description="Names of accounts.")


class NewTeam(BaseModel):
    """A team to be created."""

    name: str
    members: list[str] = Field([], description="Names of accounts.")


class TeamChanges(BaseModel):
    """What changes of a team; what is not given stays."""

    name: str | None = None
    members: list[str] | None = Field(None, description="All of them, by name.")


@router.get("", summary="All teams, by name")
async def teams(panel: Panel, _user: Operator) -> list[TeamOut]:
    return [_out(team) for team in await Teams(panel.reader).all()]


@router.post("", status_code=201, summary="Create a team", responses=problems(409, 422))
async def add_team(
    request: Request, panel: Panel, _user: OperatorInPerson, new: NewTeam
) -> TeamOut:
    """409 if the name is taken, 422 for a name that is no account's. 403 for an API key: sign in.

    Members may answer what is asked of the team, without seeing the rest of the run.
    """
    team = await actions.add_team(panel.reader, new.name, new.members, journal(request))
    return _out(team)


@router.get("/{name}", summary="One team", responses=problems(404))
async def team(panel: Panel, _user: Operator, name: Name) -> TeamOut:
    return _out(await Teams(panel.reader).named(name))


@router.put("/{name}", summary="Change a team", responses=problems(404, 409, 422))
async def change_team(
    request: Request, panel: Panel, _user: OperatorInPerson, name: Name, changed: TeamChanges
) -> TeamOut:
    """`members` are all of them. What is asked of the team is asked of who is in it now."""
    return _out(
        await actions.change_team(
            panel.reader,
            name,
            journal(request),
            new_name=changed.name,
            members=changed.members,
        )
    )


@router.delete("/{name}", status_code=204, summary="Delete a team", responses=problems(404))
async def remove_team(request: Request, panel: Panel, _user: OperatorInPerson, name: Name) -> None:
    """Open questions to it go to the owners of their runs."""
    await actions.remove_team(panel.reader, name, journal(request))


def _out(team: Team) -> TeamOut:
    return TeamOut(id=UUID(team.id), name=team.name, members=team.members)
