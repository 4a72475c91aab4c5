"""The task runs of an execution over time, and the events of one of them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import Response

from kodosumi_prefect.events import TERMINAL, clean
from kodosumi_prefect.panel.executions.panes import PANES, PaneQuery, pane_query, stretch
from kodosumi_prefect.panel.executions.rows import title
from kodosumi_prefect.panel.executions.task_attempts import attempts
from kodosumi_prefect.panel.executions.task_groups import (
    FOLDED,
    Sort,
    ends,
    grouped,
    ordered,
    ordered_groups,
    slowest,
)
from kodosumi_prefect.panel.executions.task_runs import SPAN, task_runs
from kodosumi_prefect.panel.html.gantt import Axis, Item, Stretch, look, moment
from kodosumi_prefect.panel.web.parameters import Execution, Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.stream.rows import StoredExecution, TaskRunSpan

PER_PAGE = 200  # task runs of one page
PAGES = 1000  # at most
BOOKING = timedelta(seconds=30)  # Prefect books task runs a while after they ended
FEW = 200  # task runs that may be asked for often
OFTEN, SELDOM = 3, 10  # seconds between refreshes of a live run
MANY = 2000  # task runs for which SELDOM holds; of more, refreshes are as much rarer
SELDOM_OF_ALL = 60  # seconds
VIEWS = {"log": "Log", "steps": "Steps", "raw": "All events"}

router = APIRouter(include_in_schema=False)

Wish = Annotated[PaneQuery, Depends(pane_query)]
View = Annotated[Literal["log", "steps", "reasoning", "raw"], Query()]


@router.get("/executions/{fid}/tasks")
async def tasks(
    request: Request,
    panel: Panel,
    execution: Execution,
    number: Annotated[int, Query(alias="page", ge=1, le=PAGES)] = 1,
    sort: Sort = "began",
    opened: Annotated[str, Query(alias="open", max_length=2000)] = "",
    single: bool = False,
    fragment: bool = False,
) -> Response:
    """The chart: a part for htmx or if ``fragment``, else a page of its own.

    Many task runs are folded, a row for each task, of which one may be ``opened``; ``single``
    shows them one by one all the same.
    """
    whole = "hx-request" not in request.headers and not fragment
    items, missing = await task_runs(panel, execution)
    stretches: dict[str, list[Stretch]] = {}
    if any(item["start_time"] is None for item in items):
        stretches = await _event_spans(panel, execution, items)
        items = [_with_times(item, stretches.get(item["id"])) for item in items]
        items.sort(key=lambda item: (item["start_time"] is None, item["start_time"] or ""))
    # Thousands take a while; streams go on meanwhile.
    groups = await asyncio.to_thread(grouped, items)
    foldable = len(items) > FOLDED and len(groups) < len(items)
    wish = {"sort": sort, "open": opened, "single": single and foldable, "page": 1}
    chosen = items
    if foldable and not single:
        chosen = next((list(group.items) for group in groups if group.key == opened), [])
    pages = max(ceil(len(chosen) / PER_PAGE), 1)
    number = min(number, pages)
    first = (number - 1) * PER_PAGE
    shown = ordered(chosen, sort)[first : first + PER_PAGE]
    if missing is None:
        stretches |= await attempts(panel, shown)
    folded = ordered_groups(groups, sort) if foldable and not single else []

    def drawn() -> tuple[Axis, list[Any], list[Any]]:
        axis = Axis(
            items,
            began=execution.started_at,
            ended=execution.ended_at if execution.status in TERMINAL else None,
            attempts=stretches,
        )
        rows = list(zip([axis.line(item) for item in shown], ends(shown), strict=True))
        together = [
            (group, moment(group.items[0]["start_time"]), axis.many(group.items, group.look))
            for group in folded
        ]
        return axis, rows, together

    axis, lines, together = await asyncio.to_thread(drawn)
    context = {
        "row": execution,
        "title": title(execution),
        "axis": axis,
        "lines": lines,
        "groups": together,
        "foldable": foldable,
        "slowest": slowest(items),
        "total": len(items),
        "chosen": len(chosen),
        "first": first + 1,
        "number": number,
        "pages": pages,
        "missing": missing,
        "pause": _pause(
            execution, len(items), reading=panel.task_trees.reading(UUID(execution.fid))
        ),
        "wish": wish | {"page": number},
        "at": lambda **changes: _address(wish | changes),
    }
    return page(request, "tasks.html" if whole else "_tasks.html", context)


def _address(wish: dict[str, Any]) -> str:
    """The query of a chart, without what is as usual."""
    usual = {"sort": "began", "open": "", "single": False, "page": 1}
    said = {name: value for name, value in wish.items() if value != usual[name]}
    return f"?{urlencode(said)}" if said else "?"


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
    view = "steps" if view == "reasoning" else view  # as older links have it
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


def _with_times(item: Item, seen: list[Stretch] | None) -> Item:
    """A task run that only events know ran as long as they tell of it."""
    if not seen or item["start_time"] is not None or seen[0].end is None:
        return item
    start, end = seen[0].start, seen[0].end
    times = {"start_time": start.isoformat(), "end_time": end.isoformat()}
    return item | times | {"duration": (end - start).total_seconds()}


def _pause(row: StoredExecution, count: int, *, reading: bool) -> int | None:
    """Seconds until the chart should be refreshed; None when it will not change any more."""
    many = min(max(count // MANY, 1) * SELDOM, SELDOM_OF_ALL)
    if reading:
        return SELDOM
    if row.status in TERMINAL:
        ended = row.ended_at
        recent = ended is not None and datetime.now(UTC) - ended < BOOKING
        return (OFTEN if count <= FEW else many) if recent else None
    return OFTEN if count <= FEW else many
