"""The trace of an execution: rows for the tree in the browser, and what one of them holds."""

import asyncio
import gzip
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import Response

from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.executions.panes import lines_between, one_event
from kodosumi_prefect.panel.executions.rows import title, usage_of
from kodosumi_prefect.panel.executions.span_contents import contents
from kodosumi_prefect.panel.executions.task_runs import task_runs
from kodosumi_prefect.panel.executions.trace_rows import (
    FIRST,
    LOG,
    STEPS,
    first_lines,
    steps,
    table,
)
from kodosumi_prefect.panel.html.contents import views
from kodosumi_prefect.panel.html.gantt import look, moment
from kodosumi_prefect.panel.web.parameters import (
    MAX_CURSOR,
    Cursor,
    Execution,
    Panel,
    ReadsContents,
)
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.stream.reader import Origin, StoredEvent
from kodosumi_prefect.stream.rows import StoredExecution, StoredSpan

MOST_ROWS = 5000  # spans of one answer
MOST_STEPS = 500  # steps or lines of one answer
LINES = 50  # lines of the log beside what was written meanwhile
LOOKED_THROUGH = 50_000  # events for those lines
STEP = "~event-"  # begins the key of a row that is an event; spans' ids have no such character
TASK = "~task-"  # likewise of a Prefect task run

router = APIRouter(include_in_schema=False)

Key = Annotated[str, Path(max_length=200)]


def _packed(content: Any, *, compressed: bool) -> Response:
    """JSON, compressed at least effort: rows are many and much alike."""
    body, headers = orjson.dumps(content), {"Vary": "Accept-Encoding"}
    if compressed:
        body = gzip.compress(body, 1)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)


def _accepts_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


@router.get("/executions/{fid}/trace/spans")
async def spans(
    request: Request,
    panel: Panel,
    execution: Execution,
    after: Cursor = 0,
    changed: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = MOST_ROWS,
) -> Response:
    """Spans behind ``after``, as ``GET /outputs/trace/{fid}`` has them, but as a table.

    With ``changed`` only those that events behind that seq say something of. ``seq`` is what to ask
    with as ``changed`` for what comes later.
    """
    found = await panel.reader.spans(execution.fid, after, limit + 1, changed=changed)
    shown = found[:limit]
    following = {
        "seq": execution.last_seq,
        "next": shown[-1].first_seq if shown else after,
        "more": len(found) > limit,
    }
    zip_ = _accepts_gzip(request)
    # Thousands take a while; streams go on meanwhile.
    return await asyncio.to_thread(lambda: _packed(table(shown) | following, compressed=zip_))


@router.get("/executions/{fid}/trace/steps", dependencies=[ReadsContents])
async def trace_steps(
    request: Request,
    panel: Panel,
    execution: Execution,
    after: Cursor = 0,
    log: bool = False,
    limit: Annotated[int, Query(ge=1, le=MOST_STEPS)] = MOST_STEPS,
) -> Response:
    """Agents, actions, results, errors, questions and answers behind ``after``, or log lines."""
    until = execution.last_seq
    batch = await panel.reader.page(
        execution.fid, after, until=until, kinds=LOG if log else STEPS, limit=limit
    )
    following = batch.events[-1].seq if batch.more and batch.events else max(until, after)
    items = await asyncio.to_thread(steps, batch.events)
    content = {"items": items, "next": following, "more": batch.more}
    return _packed(content, compressed=_accepts_gzip(request))


@router.get("/executions/{fid}/trace/totals")
async def shown_totals(request: Request, panel: Panel, execution: Execution) -> Response:
    """What all spans took, in words."""
    return page(request, "_trace_totals.html", {"totals": await trace_totals(panel, execution)})


@router.get("/executions/{fid}/trace/of/{key}", dependencies=[ReadsContents])
async def details(
    request: Request, panel: Panel, execution: Execution, key: Key, fragment: bool = False
) -> Response:
    """What one row holds: a part for the page if ``fragment``, else a page of its own.

    Raises:
        HTTPException: 404, there is no such row.
    """
    known = await of_row(panel, execution, clean(key))
    if known is None:
        raise HTTPException(404, f"there is no row {key[:100]} in the trace of this execution")
    context = known | {"row": execution, "title": title(execution)}
    return page(request, "_trace_row.html" if fragment else "trace_row.html", context)


async def trace_totals(panel: State, row: StoredExecution) -> dict[str, Any]:
    """What spans of an execution add up to."""
    models, count = await asyncio.gather(
        panel.reader.model_use(row.fid), panel.reader.count_spans(row.fid)
    )
    return {"spans": count, "usage": usage_of(row), "models": models}


async def trace_tab(panel: State, row: StoredExecution, key: str | None) -> dict[str, Any]:
    """What the page itself has of the tab: the first spans, and the row that a link leads to."""
    first, totals, chosen = await asyncio.gather(
        panel.reader.spans(row.fid, 0, FIRST + 1),
        trace_totals(panel, row),
        _of_link(panel, row, key),
    )
    # Looked for where there is no tree only: among many events of spans that takes long.
    steps = not first and await panel.reader.latest(row.fid, MAX_CURSOR, kinds=STEPS, limit=1)
    return {
        "totals": totals,
        "lines": first_lines(first[:FIRST]),
        "more": len(first) > FIRST,
        "steps": bool(steps),
        "chosen": chosen,
    }


async def _of_link(panel: State, row: StoredExecution, key: str | None) -> dict[str, Any] | None:
    return await of_row(panel, row, clean(key)) if key else None


async def of_row(panel: State, row: StoredExecution, key: str) -> dict[str, Any] | None:
    """What the template of a row needs; None if there is no such row."""
    if key.startswith(STEP):
        return await _of_step(panel, row, key)
    if key.startswith(TASK):
        return await _of_task(panel, row, key)
    span = await panel.reader.span(row.fid, key)
    return await _of_span(panel, row, span) if span is not None else None


async def _of_span(panel: State, row: StoredExecution, span: StoredSpan) -> dict[str, Any]:
    kept = await contents(panel.reader, row.fid, span)
    given, answered = await asyncio.to_thread(lambda: (views(kept.input), views(kept.output)))
    begin = span.begin_seq or span.first_seq
    until = min(span.end_seq or row.last_seq, begin + LOOKED_THROUGH)
    task = (kept.source or {}).get("task_run")
    return {
        "kind": "span",
        "key": span.id,
        "span": span,
        "task_name": task.get("name") if isinstance(task, dict) else None,
        "node": (kept.source or {}).get("node"),
        "contents": [("input", "Input", given), ("output", "Output", answered)],
        "log": await lines_between(panel, row, begin, until, Origin(task_run=span.task_run), LINES),
    }


async def _of_step(panel: State, row: StoredExecution, key: str) -> dict[str, Any] | None:
    number = key.removeprefix(STEP)
    seq = int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0
    event = await _event(panel, row, seq) if 0 < seq <= MAX_CURSOR else None
    if event is None:
        return None
    pane = await one_event(panel, row, event)
    return {"kind": "step", "key": key, "event": event, "pane": pane}


async def _event(panel: State, row: StoredExecution, seq: int) -> StoredEvent | None:
    batch = await panel.reader.page(row.fid, seq - 1, until=seq, kinds=[*STEPS, *LOG], limit=1)
    return batch.events[0] if batch.events else None


async def _of_task(panel: State, row: StoredExecution, key: str) -> dict[str, Any] | None:
    id_ = key.removeprefix(TASK)
    items, missing = await task_runs(panel, row)
    item = next((item for item in items if item["id"] == id_), None)
    if item is None:
        return None
    until = min(row.last_seq, LOOKED_THROUGH)
    return {
        "kind": "task",
        "key": key,
        "task": item | {"look": look(item["state_type"]), "began": moment(item["start_time"])},
        "missing": missing,
        "log": await lines_between(panel, row, 0, until, Origin(task_run=id_), LINES),
    }
