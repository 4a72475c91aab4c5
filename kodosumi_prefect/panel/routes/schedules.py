"""Schedules: what runs again and again, and for whom."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from kodosumi_prefect.panel.answers import Schedule, Schedules
from kodosumi_prefect.panel.auth.user import CurrentUser, User
from kodosumi_prefect.panel.problems import answers, problems
from kodosumi_prefect.panel.state import Panel
from kodosumi_prefect.serve import schedules

router = APIRouter(prefix="/schedules", tags=["Schedules"])


@router.get("", summary="Schedules, newest first", responses=answers(Schedules) | problems(502))
async def listed(panel: Panel, user: CurrentUser) -> dict[str, Any]:
    """Those of whoever asks; operators get all. What was changed in Prefect shows here.

    `next` holds the next five times in seconds since 1970, none while it is paused;
    `paused_because` says why, unless somebody paused it by hand.
    """
    return {"items": await schedules.found(_whose(user), panel.settings)}


@router.post(
    "/{schedule_id}/pause",
    summary="Pause a schedule",
    responses=answers(Schedule) | problems(404, 409, 502),
)
async def pause(panel: Panel, user: CurrentUser, schedule_id: UUID) -> dict[str, Any]:
    """It makes no runs until it is resumed. 404 if it is not there, or was deleted in Prefect."""
    return await schedules.pause(str(schedule_id), _whose(user), panel.settings)


@router.post(
    "/{schedule_id}/resume",
    summary="Resume a paused schedule",
    responses=answers(Schedule) | problems(404, 409, 502),
)
async def resume(panel: Panel, user: CurrentUser, schedule_id: UUID) -> dict[str, Any]:
    """404 if it is not there, or was deleted in Prefect."""
    return await schedules.resume(str(schedule_id), _whose(user), panel.settings)


@router.delete(
    "/{schedule_id}", summary="Delete a schedule", status_code=204, responses=problems(404, 502)
)
async def delete(panel: Panel, user: CurrentUser, schedule_id: UUID) -> Response:
    """With the inputs that were kept for it; executions it made stay."""
    await schedules.delete(str(schedule_id), _whose(user), panel.settings)
    return Response(status_code=204)


def _whose(user: User) -> str | None:
    return None if user.operator else user.id
