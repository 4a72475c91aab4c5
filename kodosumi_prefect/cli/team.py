"""``team``: accounts that questions of runs are asked of together."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import cyclopts
from rich.table import Table

from kodosumi_prefect.cli.audited import audited
from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.cli.tables import print_json
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.teams.actions import changes
from kodosumi_prefect.panel.teams.teams import Team, Teams
from kodosumi_prefect.refusals import RefusedError
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.stream.reader import Reader

app = cyclopts.App(name="team", help="List and change teams, of which flows ask questions.")

T = TypeVar("T")


@app.command(name="list")
@of_stack
def list_(*, output: Output = "text") -> None:
    """List all teams and who is in them."""

    async def read(reader: Reader) -> list[Team]:
        return await Teams(reader).all()

    teams = _do(read)
    if output == "json":
        rows = [{"id": team.id, "name": team.name, "members": team.members} for team in teams]
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "members"):
        table.add_column(column)
    for team in teams:
        table.add_row(team.name, ", ".join(team.members))
    console.print(table)


@app.command
@of_stack
def add(name: str, *accounts: str) -> None:
    """Create a team.

    Parameters
    ----------
    name
        Flows ask it as team: and this name.
    accounts
        Who is in it.
    """

    async def make(reader: Reader) -> Team:
        team = await Teams(reader).add(name, accounts)
        target = Target("team", team.id, team.name)
        await audited(reader, Action.TEAM_CREATE, target, members=team.members)
        return team

    _print(_do(make))


@app.command
@of_stack
def join(name: str, *accounts: str) -> None:
    """Have accounts in a team.

    Parameters
    ----------
    name
        The team.
    accounts
        Who joins it.
    """
    _change(name, lambda members: [*members, *accounts])


@app.command
@of_stack
def leave(name: str, *accounts: str) -> None:
    """Take accounts out of a team.

    Parameters
    ----------
    name
        The team.
    accounts
        Who leaves it.
    """
    gone = {account.strip().lower() for account in accounts}
    _change(name, lambda members: [each for each in members if each.lower() not in gone])


@app.command
@of_stack
def rename(name: str, new: str) -> None:
    """Give a team another name; flows that ask it by the old one ask the owners of their runs.

    Parameters
    ----------
    name
        The team.
    new
        Its new name.
    """
    _change(name, None, new)


@app.command
@of_stack
def remove(name: str) -> None:
    """Delete a team; open questions to it go to the owners of their runs.

    Parameters
    ----------
    name
        The team.
    """

    async def delete(reader: Reader) -> Team:
        team = await Teams(reader).named(name)
        await Teams(reader).remove(team.name)
        await audited(reader, Action.TEAM_DELETE, Target("team", team.id, team.name))
        return team

    console.print(f"deleted {_do(delete).name}", markup=False)


def _change(
    name: str, members: Callable[[list[str]], list[str]] | None, new: str | None = None
) -> None:
    async def change(reader: Reader) -> Team:
        before = await Teams(reader).named(name)
        wanted = None if members is None else members(before.members)
        team = await Teams(reader).change(before.name, new_name=new, members=wanted)
        target = Target("team", team.id, before.name)
        await audited(reader, Action.TEAM_CHANGE, target, **changes(before, team))
        return team

    _print(_do(change))


def _print(team: Team) -> None:
    console.print(f"{team.name}: {', '.join(team.members) or 'nobody'}", markup=False)


def _do(work: Callable[[Reader], Awaitable[T]]) -> T:
    """Work with a reader.

    Raises:
        CommandError: what was asked for cannot be done.
    """
    settings = get_settings()
    url = require_database(settings)

    async def run() -> T:
        async with Reader(url, settings.database_schema, 1) as reader:
            return await work(reader)

    try:
        return asyncio.run(run())
    except RefusedError as exc:
        raise CommandError(exc.detail) from exc
