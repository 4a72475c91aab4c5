"""Changing teams, recorded in the audit."""

from collections.abc import Sequence

from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.teams.teams import Team, Teams
from kodosumi_prefect.stream.reader import Reader


async def add_team(reader: Reader, name: str, members: Sequence[str], journal: Journal) -> Team:
    """As ``Teams.add``."""
    entry = journal.record(Action.TEAM_CREATE, Target("team", name))
    team = await Teams(reader).add(name, members)
    entry.target = Target("team", team.id, team.name)
    entry.details["members"] = team.members
    return team


async def change_team(
    reader: Reader,
    name: str,
    journal: Journal,
    *,
    new_name: str | None = None,
    members: Sequence[str] | None = None,
) -> Team:
    """As ``Teams.change``."""
    entry = journal.record(Action.TEAM_CHANGE, Target("team", name))
    before = await Teams(reader).named(name)
    entry.target = Target("team", before.id, before.name)
    team = await Teams(reader).change(name, new_name=new_name, members=members)
    entry.details |= changes(before, team)
    return team


async def remove_team(reader: Reader, name: str, journal: Journal) -> None:
    """As ``Teams.remove``."""
    entry = journal.record(Action.TEAM_DELETE, Target("team", name))
    team = await Teams(reader).named(name)
    entry.target = Target("team", team.id, team.name)
    await Teams(reader).remove(team.name)


def changes(before: Team, after: Team) -> dict[str, object]:
    """What is different, in a few plain values."""
    changed: dict[str, object] = {}
    if after.name != before.name:
        changed["name"] = after.name
    if added := [name for name in after.members if name not in before.members]:
        changed["added"] = added
    if removed := [name for name in before.members if name not in after.members]:
        changed["removed"] = removed
    return changed
