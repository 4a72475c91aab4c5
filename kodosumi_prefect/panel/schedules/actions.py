"""Schedules that somebody may see, and changing them: ours, for operators all that Prefect has."""

import asyncio
from typing import Any, Literal, NamedTuple
from uuid import UUID

from kodosumi_prefect.addresses import no_answer, prefect_access
from kodosumi_prefect.launch import other_schedules, schedules
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.launch.schedules import PAUSED_DEPLOYMENT
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.refusals import ConflictError, ForbiddenError
from kodosumi_prefect.settings import Settings

PREFECT_ANSWER_SECONDS = 10.0  # seconds that a page waits for Prefect

Row = dict[str, Any]
Change = Literal["pause", "resume", "delete"]


class Listing(NamedTuple):
    """Schedules, newest first, those of others last.

    Attributes:
        trouble: why they are only what Postgres knows; None if Prefect was asked.
    """

    rows: list[Row]
    trouble: str | None = None


def is_paused(row: Row) -> bool:
    """Whether it makes no runs now."""
    return not row.get("active", row["paused_because"] is None)


def may_resume(row: Row) -> bool:
    """Whether resuming the schedule is all that it needs."""
    return is_paused(row) and row["paused_because"] != PAUSED_DEPLOYMENT


async def listing(user: User, settings: Settings) -> Listing:
    """What this user may see, each row with ``ours``: whether it was made through Kodosumi.

    Raises:
        LaunchError: Postgres is away.
    """
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
            rows = [
                row | {"ours": True}
                for row in await schedules.schedules_of(user.limited_to, settings)
            ]
            if user.operator:
                others = await other_schedules.others({row["id"] for row in rows}, settings)
                rows += [row | {"ours": False} for row in others]
            return Listing(rows)
    except LaunchError as exc:
        trouble = exc.detail
    except TimeoutError:
        trouble = no_answer(prefect_access(settings), PREFECT_ANSWER_SECONDS)
    rows = await schedules.remembered(user.limited_to, settings)
    return Listing([row | {"ours": True} for row in rows], trouble)


async def change(
    do: Change,
    id_: UUID,
    deployment: UUID | None,
    user: User,
    settings: Settings,
) -> None:
    """Pause, resume or delete one.

    Arguments:
        deployment: of a schedule that is not of ours; operators only.

    Raises:
        ForbiddenError, ConflictError: it is not theirs to change, or not here.
        LaunchError: there is none, or Prefect is away.
    """
    if deployment is None:
        await getattr(schedules, do)(str(id_), user.limited_to, settings)
    elif not user.operator:
        raise ForbiddenError("only operators may change schedules that were made in Prefect")
    elif do == "delete":
        raise ConflictError(f"schedule {id_} was made in Prefect; delete it there")
    else:
        await other_schedules.switch(str(deployment), str(id_), do == "resume", settings)
