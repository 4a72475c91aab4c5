"""Schedules: what runs regularly, and for whom."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from kodosumi_prefect.launch import schedules
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.schedules.filter import FilterOfRequest
from kodosumi_prefect.panel.schedules.view import schedules_page
from kodosumi_prefect.panel.web.answers import Schedule, Schedules
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import Panel

PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Schedules,
        "description": "The schedules; a page of them where `Accept` names `text/html`.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/schedules", tags=["Schedules"])


@router.get(
    "",
    summary="Schedules, newest first",
    response_model=dict[str, Any],
    responses=PAGE | problems(502),
)
async def listed(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    filter_: FilterOfRequest,
) -> dict[str, Any] | Response:
    """Those of whoever asks; operators get all. What was changed in Prefect shows here.

    `next` holds the next five times in seconds since 1970, none while it is paused;
    `paused_because` says why, unless somebody paused it by hand. `tags` are its deployment's.
    """
    if "text/html" in request.headers.get("accept", ""):
        return await schedules_page(request, panel, user, filter_)
    rows = await schedules.schedules_of(user.limited_to, panel.settings)
    return {"items": [row for row in rows if filter_.matches(row)]}


@router.post(
    "/{schedule_id}/pause",
    summary="Pause a schedule",
    responses=answers(Schedule) | problems(404, 409, 502),
)
async def pause(panel: Panel, user: CurrentUser, schedule_id: UUID) -> dict[str, Any]:
    """It starts no runs until it is resumed. 404 if it is not there, or was deleted in Prefect."""
    return await schedules.pause(str(schedule_id), user.limited_to, panel.settings)


@router.post(
    "/{schedule_id}/resume",
    summary="Resume a paused schedule",
    responses=answers(Schedule) | problems(404, 409, 502),
)
async def resume(panel: Panel, user: CurrentUser, schedule_id: UUID) -> dict[str, Any]:
    """404 if it is not there, or was deleted in Prefect."""
    return await schedules.resume(str(schedule_id), user.limited_to, panel.settings)


@router.delete(
    "/{schedule_id}", summary="Delete a schedule", status_code=204, responses=problems(404, 502)
)
async def delete(panel: Panel, user: CurrentUser, schedule_id: UUID) -> Response:
    """With the inputs that were stored for it; executions it started are kept."""
    await schedules.delete(str(schedule_id), user.limited_to, panel.settings)
    return Response(status_code=204)
