"""Endpoints as the list of services shows them."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from kodosumi_prefect.database.rows.schedules import NotedSchedule
from kodosumi_prefect.database.rows.services import (
    LastOfEndpoint,
    RegisteredEndpoint,
    UseOfEndpoint,
)
from kodosumi_prefect.launch import schedules
from kodosumi_prefect.launch.other_schedules import next_times
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.services.register.address import MOUNTED
from kodosumi_prefect.panel.services.register.openapi import has_text
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.spans.amounts import taken

PREFECT_ANSWER_SECONDS = 2.0  # seconds that a list waits for Prefect
USE_DAYS = 30  # days over which runs are counted
MOST_OFTEN, MOST_FIRST = 12, 100  # endpoints that run often, and with the favourites
LONGEST_BEGINNING = 240  # characters of a description

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class First:
    """What stands before the others in somebody's list.

    Attributes:
        favourites: uids of endpoints, the oldest first.
        runs: in the last ``USE_DAYS`` days, by uid.
    """

    favourites: list[str]
    runs: dict[str, int]

    @property
    def uids(self) -> list[str]:
        """Favourites, then what ran most often."""
        often = sorted(self.runs, key=lambda uid: (-self.runs[uid], uid))
        return list(dict.fromkeys([*self.favourites, *often[:MOST_OFTEN]]))[:MOST_FIRST]


async def cards(
    panel: State, user: User, rows: Sequence[RegisteredEndpoint], first: First
) -> list[Row]:
    """Endpoints with their last runs and next schedules, of those that ``user`` may see."""
    uids = [row.uid for row in rows]
    if not uids:
        return []
    visible = user.sees(panel.settings)
    runs = await panel.reader.rows_of(
        LastOfEndpoint, "last_of_endpoints", uids=uids, **visible._asdict()
    )
    last = {run.uid: run for run in runs}
    scheduled = await _scheduled(panel, user, rows)
    return [
        asdict(row)
        | source(row)
        | {
            "last": last.get(row.uid),
            "last_took": taken(*use_of(last[row.uid])) if row.uid in last else None,
            "next": scheduled.get(row.uid),
            "runs": first.runs.get(row.uid, 0),
            "favourite": row.uid in first.favourites,
        }
        for row in rows
    ]


async def first(panel: State, user: User) -> First:
    """What stands first in the list of ``user``: what they like best, and what runs most."""
    favourites = await panel.reader.values("favourites", owner=user.id)
    visible = user.sees(panel.settings)
    rows = await panel.reader.rows_of(
        UseOfEndpoint, "use_of_endpoints", days=USE_DAYS, **visible._asdict()
    )
    return First(favourites, {row.uid: row.runs for row in rows})


def use_of(last: LastOfEndpoint) -> tuple[float, int, int, int]:
    """What a run took of models, as ``taken`` wants it."""
    return last.cost, last.input_tokens, last.output_tokens, last.unpriced_calls


def source(row: RegisteredEndpoint) -> Row:
    """Where an endpoint comes from, and whether that is there, in words for people."""
    if row.kind == "prefect":
        where = "Prefect deployment"
    elif row.base_url.startswith(f"{MOUNTED}/"):
        where = f"{row.source}, in the panel"
    else:
        where = row.base_url
    reached = row.reached_at
    return {
        "where": where,
        "since": None if reached is None else datetime.fromtimestamp(reached, UTC),
        "beginning": _beginning(row.description),
    }


def _beginning(description: str | None) -> str:
    """The first paragraph of a description."""
    first = (description or "").strip().partition("\n\n")[0]
    text = " ".join(first.split()).lstrip("# ")  # it may begin with a heading in markdown
    if not has_text(text):
        return ""
    return (
        text
        if len(text) <= LONGEST_BEGINNING
        else text[:LONGEST_BEGINNING].rsplit(" ", 1)[0] + " …"
    )


async def _scheduled(
    panel: State, user: User, rows: Sequence[RegisteredEndpoint]
) -> dict[str, Row]:
    """The next times of endpoints that something is scheduled of.

    Postgres says of which we made schedules; Prefect says when, and what else is scheduled of
    deployments. It is asked only if there is anything to ask it about.
    """
    owner = user.limited_to
    uids = [row.uid for row in rows]
    everyones = await panel.reader.rows_of(
        NotedSchedule, "noted_schedules", owner=None, id=None, uids=uids
    )
    noted = [one for one in everyones if owner in (None, one.owner)]
    deployed = {row.deployment_id: row.uid for row in rows if row.deployment_id is not None}
    if not noted and not deployed:
        return {}
    scheduled = [one.endpoint_uid for one in noted if one.endpoint_uid is not None]
    known: dict[str, Row] = {uid: {"at": None, "unknown": True} for uid in scheduled}
    times: dict[str, list[float]] = {uid: [] for uid in known}
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
            for one in await schedules.schedules_of(owner, panel.settings) if noted else []:
                if one["endpoint"] in times:
                    times[one["endpoint"]] += one["next"][:1]
            ours = {one.id for one in everyones}
            others = await next_times(deployed, ours, panel.settings) if deployed else {}
            for id_, one in others.items():
                times.setdefault(deployed[id_], []).extend(one["next"])
    except (LaunchError, TimeoutError):
        unasked: dict[str, Row] = {uid: {"unasked": True} for uid in deployed.values()}
        return unasked | known
    return {
        uid: {
            "at": datetime.fromtimestamp(min(next_), UTC) if next_ else None,
            "unknown": False,
            "paused": not next_,
        }
        for uid, next_ in times.items()
    }
