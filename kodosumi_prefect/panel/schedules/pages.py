"""Schedules: what runs regularly, when, and how it ended."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.schedules.actions import Change, change, listing
from kodosumi_prefect.panel.schedules.filter import FilterOfRequest
from kodosumi_prefect.panel.schedules.view import context, to_change
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.refusals import InvalidError, RefusedError, UpstreamError

DONE = {"pause": "paused", "resume": "resumed", "delete": "deleted"}
RECORDED = {
    "pause": Action.SCHEDULE_PAUSE,
    "resume": Action.SCHEDULE_RESUME,
    "delete": Action.SCHEDULE_DELETE,
}

router = APIRouter(include_in_schema=False)


@router.get("/schedules/list")
async def rows(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    filter_: FilterOfRequest,
) -> Response:
    """The list without a page around it."""
    schedules = await listing(user, panel.settings)
    return page(request, "_schedules.html", await context(panel, user, schedules, filter_))


@router.post("/schedules/change")
async def changed(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    filter_: FilterOfRequest,
    do: Annotated[Change, Form()],
    id: Annotated[UUID | None, Form()] = None,
    deployment: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Change one, or all that match the filter; answers the new list."""
    problems: list[str] = []
    if id is not None:
        targets: list[tuple[UUID, UUID | None]] = [(id, deployment)]
    elif do == "delete":
        raise InvalidError("id is missing: schedules are deleted one by one")
    else:
        before = await listing(user, panel.settings)
        if before.trouble is not None:
            raise UpstreamError(before.trouble)
        targets = to_change(do, [row for row in before.rows if filter_.matches(row)])
    done = 0
    for target, of in targets:
        entry = record(request, RECORDED[do], Target("schedule", str(target)))
        try:
            await change(do, target, of, user, panel.settings)
            done += 1
            entry.outcome = Outcome.OK
        except RefusedError as exc:
            entry.outcome = Outcome.of_status(status_of(exc))
            if id is not None:
                raise
            problems.append(exc.detail)
    if "hx-request" not in request.headers:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return RedirectResponse(f"{root}/schedules{filter_.address()}", 303)
    notice = f"{done} {'schedule' if done == 1 else 'schedules'} {DONE[do]}."
    schedules = await listing(user, panel.settings)
    around = {"notice": notice, "problems": problems[:5]}
    return page(
        request, "_schedules.html", (await context(panel, user, schedules, filter_)) | around
    )
