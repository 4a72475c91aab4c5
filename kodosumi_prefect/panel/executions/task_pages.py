"""The task runs of an execution over time, and the events of one of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import Response

from kodosumi_prefect.events import TERMINAL, clean
from kodosumi_prefect.panel.executions.panes import PANES, PaneQuery, pane_query, stretch
from kodosumi_prefect.panel.executions.rows import title
from kodosumi_prefect.panel.executions.task_attempts import attempts
from kodosumi_prefect.panel.executions.task_runs import SPAN, task_runs
from kodosumi_prefect.panel.html.gantt import Item, Stretch, gantt, look, moment
from kodosumi_prefect.panel.web.parameters import Execution, Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.stream.rows import StoredExecution, TaskRunSpan

PER_PAGE = 1000  # task runs of one page
PAGES = 1000  # at most
BOOKING = timedelta(seconds=30)  # Prefect books task runs a while after they ended
FEW = 200  # task runs that may be asked for often
OFTEN, SELDOM = 3, 10  # seconds between refreshes of a live run
VIEWS = {"log": "Log", "reasoning": "Reasoning", "raw": "All events"}

router = APIRouter(include_in_schema=False)

Wish = Annotated[PaneQuery, Depends(pane_query)]
View = Annotated[Literal["log", "reasoning", "raw"], Query()]


@router.get("/executions/{fid}/tasks")
async def tasks(
    request: Request,
    panel: Panel,
    execution: Execution,
    number: Annotated[int, Query(alias="page", ge=1, le=PAGES)] = 1,
    fragment: bool = False,
) -> Response:
    """The chart: a part for htmx or if ``fragment``, else a page of its own."""
    whole = "hx-request" not in request.headers and not fragment
    items, missing = await task_runs(panel, execution)
    pages = max(ceil(len(items) / PER_PAGE), 1)
    number = min(number, pages)
    on_page = slice((number - 1) * PER_PAGE, number * PER_PAGE)
    stretches: dict[str, list[Stretch]] = {}
    if missing is None:
        stretches |= await attempts(panel, items[on_page])
    if any(item["start_time"] is None for item in items):
        stretches |= await _event_spans(panel, execution, items)
    chart = gantt(
        items,
        on_page,
        began=execution.started_at,
        ended=execution.ended_at if execution.status in TERMINAL else None,
        attempts=stretches,
    )
    context = {
        "row": execution,
        "title": title(execution),
        "chart": chart,
        "total": len(items),
        "first": on_page.start + 1,
        "number": number,
        "pages": pages,
        "missing": missing,
        "pause": _pause(execution, len(items)),
    }
    return page(request, "tasks.html" if whole else "_tasks.html", context)


@router.get("/executions/{fid}/tasks/{named}")
async def task(
    request: Request,
    panel: Panel,
    execution: Execution,
    wish: Wish,
    named: Annotated[str, Path(max_length=1000)],
    view: View = "log",
    fragment: bool = False,
) -> Response:
    """The events of one task run, a stretch at a time.

    Raises:
        HTTPException: 404, neither Prefect nor an event has such a task run.
    """
    named = clean(named)
    pane = await stretch(panel, execution, view, replace(wish, task_run=named))
    if "hx-request" in request.headers or fragment:
        return page(request, "_pane.html", {"row": execution, "pane": pane})
    items, missing = await task_runs(panel, execution)
    item = next((item for item in items if named in (item["id"], item["name"])), None)
    if item is None and not pane["items"]:
        raise HTTPException(404, f"there is no task run {named[:100]} in this execution")
    context = {
        "row": execution,
        "title": title(execution),
        "task": _about(item) if item is not None else None,
        "id": named,
        "pane": pane,
        "view": view,
        "views": VIEWS,
        "panes": PANES,
        "missing": missing,
    }
    return page(request, "task.html", context)


def _about(item: Item) -> dict[str, Any]:
    return item | {
        "look": look(item["state_type"]),
        "began": moment(item["start_time"]),
        "ended": moment(item["end_time"]),
    }


async def _event_spans(
    panel: State, row: StoredExecution, items: list[Item]
) -> dict[str, list[Stretch]]:
    """From when to when events have those task runs that Prefect does not have."""
    unknown = {item["id"] for item in items if item["start_time"] is None}
    after = max(row.last_seq - SPAN, 0)
    spans = await panel.reader.rows_of(TaskRunSpan, "task_run_spans", fid=row.fid, after=after)
    states = {item["id"]: item["state_type"] for item in items}
    return {
        span.id: [Stretch(span.first, span.last, states[span.id])]
        for span in spans
        if span.id in unknown
    }


def _pause(row: StoredExecution, count: int) -> int | None:
    """Seconds until the chart should be refreshed; None when it will not change any more."""
    if row.status in TERMINAL:
        ended = row.ended_at
        return OFTEN if ended is not None and datetime.now(UTC) - ended < BOOKING else None
    return OFTEN if count <= FEW else SELDOM
