"""What Kodosumi's analytics page draws: its addresses and fields, for those who read them."""

import time
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from kodosumi_prefect.database.rows.dashboard import (
    DashboardExecution,
    DashboardFailure,
    DashboardFigure,
)
from kodosumi_prefect.database.rows.files import ListedFile
from kodosumi_prefect.events import Status, clean
from kodosumi_prefect.files.names import Direction
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.executions.api import Json
from kodosumi_prefect.panel.web.answers import (
    DashboardAgents,
    DashboardDetails,
    DashboardErrors,
    DashboardFiles,
    DashboardStats,
    DashboardTimeline,
)
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import (
    MAX_CURSOR,
    Cursor,
    Execution,
    Panel,
    ReadsContents,
)
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.stream.reader import ALL

HOUR = 3600.0  # seconds
LONGEST_SPAN = 24 * 366 * 50  # hours; whoever asks for more gets all there is
SCANNED = 10_000  # executions looked through for one answer
MOST = 500  # executions or errors of one answer
EVENTS = 10_000  # of one answer
LONGEST = 20_000  # characters of an error in lists
UNNAMED = "Unknown"  # what Kodosumi calls an execution that nothing describes

router = APIRouter(prefix="/api/dashboard", tags=["Dashboard"])

Hours = Annotated[
    int,
    Query(ge=-MAX_CURSOR, le=MAX_CURSOR, description="A span up to now; 0 or less: nothing."),
]
Text = Annotated[str | None, Query(max_length=1000)]


@router.get(
    "/running-agents",
    response_class=Json,
    summary="Executions of the last hours, newest first",
    responses=answers(DashboardAgents),
)
async def running_agents(
    panel: Panel,
    user: CurrentUser,
    hours: Hours = 24,
    agent_name: Annotated[Text, Query(description="A part of the name.")] = None,
    owner: Annotated[
        str | None, Query(alias="user", max_length=200, description="Id of an account.")
    ] = None,
    status: Annotated[Text, Query(description="One of the five words.")] = None,
    search: Annotated[Text, Query(description="A part of fid, name, user's id or status.")] = None,
) -> Response:
    """Whatever their status is. Upper and lower case are alike.

    Of the newest 10,000 of the span; the newest 500 that match are listed, `total` counts all.
    """
    rows = await _executions(
        panel, user, hours, name=agent_name, of=owner, status=status, search=search
    )
    named = {"agent_name": agent_name, "user": owner, "status": status, "search": search}
    return Json(
        {
            "total": rows[0].total if rows else 0,
            "agents": [_execution(row) | {"user_name": row.username} for row in rows],
            "filters": {"hours": hours, **named},
        }
    )


@router.get(
    "/errors",
    response_class=Json,
    summary="Failures of the last hours, latest first",
    responses=answers(DashboardErrors),
)
async def errors(
    panel: Panel,
    user: CurrentUser,
    hours: Hours = 24,
    limit: Annotated[int, Query(description="At most; never more than 500.")] = 100,
) -> Response:
    """Of the newest 10,000 executions that failed; `total` counts those of the span.

    What was cancelled is none.
    """
    rows = await panel.reader.rows_of(
        DashboardFailure,
        "dashboard_errors",
        **user.sees(panel.settings)._asdict(),
        since=_since(hours),
        scanned=SCANNED,
        limit=min(max(limit, 0), MOST),
        longest=LONGEST,
    )
    items = [
        {
            "fid": row.fid,
            "user_id": row.owner,
            "timestamp": row.failed,
            "error": {"error": row.error},
        }
        for row in rows
        if row.fid is not None
    ]
    return Json({"total": rows[0].total, "errors": items})


@router.get(
    "/timeline",
    response_class=Json,
    summary="Executions of the last hours, oldest first",
    responses=answers(DashboardTimeline),
)
async def timeline(panel: Panel, user: CurrentUser, hours: Hours = 24) -> Response:
    """As `running-agents` without a filter, in the other order: the newest 500."""
    rows = await _executions(panel, user, hours)
    return Json(
        {
            "total": rows[0].total if rows else 0,
            "executions": [_execution(row) for row in reversed(rows)],
        }
    )


@router.get("/agent-stats", summary="Figures of all executions", responses=answers(DashboardStats))
async def agent_stats(panel: Panel, user: CurrentUser) -> dict[str, Any]:
    """Of the newest 10,000. What nobody owns is not in `by_user`; `avg_runtime` is in seconds.

    `by_status` has Kodosumi's words, so that its errors include what was cancelled; `error_rate`
    does not.
    """
    figures = await panel.reader.rows_of(
        DashboardFigure,
        "dashboard_figures",
        **user.sees(panel.settings)._asdict(),
        scanned=SCANNED,
    )
    total = sum(figure.executions for figure in figures)
    by_status: dict[str, int] = {}
    by_user: dict[str, int] = {}
    for figure in figures:
        by_status[figure.status] = by_status.get(figure.status, 0) + figure.executions
        if figure.owner is not None:
            by_user[figure.owner] = by_user.get(figure.owner, 0) + figure.executions
    seconds = sum(figure.seconds for figure in figures)
    cancelled = sum(figure.cancelled for figure in figures)
    failed = by_status.get(Status.ERROR, 0) - cancelled
    return {
        "total_executions": total,
        "by_status": by_status,
        "by_user": by_user,
        "avg_runtime": seconds / total if total else 0,
        "error_rate": failed / total if total else 0,
    }


@router.get(
    "/execution/{fid}/details",
    response_class=Json,
    summary="One execution and its events",
    responses=answers(DashboardDetails) | problems(404),
    dependencies=[ReadsContents],
)
async def details(panel: Panel, execution: Execution, after: Cursor = 0) -> Response:
    """Up to 10,000 events or about 8 MB; those behind come with the last `id` as `after`."""
    [row] = await panel.reader.rows_of(
        DashboardExecution, "dashboard_execution", fid=execution.fid, longest=LONGEST
    )
    page = await panel.reader.page(execution.fid, after, until=execution.last_seq, limit=EVENTS)
    events = [
        {"id": event.seq, "timestamp": event.ts, "kind": event.kind, "message": event.payload}
        for event in page.events
    ]
    return Json({"metadata": _execution(row), "events": events, "total_events": execution.last_seq})


@router.get(
    "/execution/{fid}/files",
    response_class=Json,
    summary="Files of one execution",
    responses=answers(DashboardFiles) | problems(404),
)
async def files(panel: Panel, execution: Execution) -> Response:
    """What it was given, and what it left, by path; those in folders too."""
    uploads, downloads = [
        await _files(panel, execution.fid, direction) for direction in (Direction.IN, Direction.OUT)
    ]
    return Json(
        {
            "fid": execution.fid,
            "uploads": uploads,
            "downloads": downloads,
            "upload_count": len(uploads),
            "download_count": len(downloads),
        }
    )


async def _files(panel: State, fid: str, direction: Direction) -> list[dict[str, Any]]:
    rows = await panel.reader.rows_of(
        ListedFile, "files_of", fid=fid, direction=direction, folder="", after=None, limit=ALL
    )
    return [
        {
            "name": row.path.partition("/")[2],
            "size": row.size,
            "path": row.path,
            "url": f"/files/{fid}/{quote(row.path)}",
        }
        for row in rows
    ]


async def _executions(
    panel: State,
    user: CurrentUser,
    hours: int,
    *,
    name: str | None = None,
    of: str | None = None,
    status: str | None = None,
    search: str | None = None,
) -> list[DashboardExecution]:
    """Newest first; an empty filter is none."""
    return await panel.reader.rows_of(
        DashboardExecution,
        "dashboard_executions",
        **user.sees(panel.settings)._asdict(),
        since=_since(hours),
        of=_filter(of),
        status=(_filter(status) or "").lower() or None,
        name=_filter(name),
        search=_filter(search),
        scanned=SCANNED,
        limit=MOST,
        longest=LONGEST,
    )


def _filter(value: str | None) -> str | None:
    return clean(value) if value else None


def _since(hours: int) -> float:
    return time.time() - HOUR * min(max(hours, 0), LONGEST_SPAN)


def _execution(row: DashboardExecution) -> dict[str, Any]:
    return {
        "fid": row.fid,
        "user_id": row.owner,
        "agent_name": row.name or UNNAMED,
        "status": row.status,
        "meta": _meta(row.meta),
        "error": row.error,
        "error_timestamp": row.failed,
        "start_time": row.started,
        "end_time": row.ended,
        "runtime": max(row.ended - row.started, 0.0),
        "upload_count": row.uploads,
        "download_count": row.downloads,
    }


def _meta(payload: str | None) -> dict[str, Any] | None:
    """The envelope; None if what was recorded is none."""
    try:
        meta = orjson.loads(payload or "null")
    except orjson.JSONDecodeError:
        return None
    return meta if isinstance(meta, dict) else None
