"""Pages for people: the list of executions, and one live page for each."""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from kodosumi_prefect.events import MAIN_KINDS, STDIO_KINDS, TERMINAL, Kind, Status, clean
from kodosumi_prefect.panel.auth.user import CurrentUser
from kodosumi_prefect.panel.executions import Row, final_envelope, runtime, title
from kodosumi_prefect.panel.jinja import page
from kodosumi_prefect.panel.prefect_api import links
from kodosumi_prefect.panel.render import render
from kodosumi_prefect.panel.routes.timeline import Words
from kodosumi_prefect.panel.state import MAX_CURSOR, Execution, Panel, State
from kodosumi_prefect.spooler.reader import StoredEvent

ROWS = 25  # executions on a page of the list
LINES = 500  # log events that a page begins with, and that "earlier" adds
CARDS = 100  # results and the like, likewise

# The head of the page shows the others.
OUTPUT_KINDS = sorted(MAIN_KINDS - {Kind.META, Kind.INPUTS, Kind.STATUS, Kind.FINAL, Kind.PROGRESS})
PANES = {"log": (sorted(STDIO_KINDS), LINES), "output": (OUTPUT_KINDS, CARDS)}

router = APIRouter(include_in_schema=False)

Pane = Literal["log", "output"]
Fragment = Annotated[bool, Query()]


@router.get("/")
async def home() -> Response:
    return RedirectResponse("executions")


@router.get("/executions")
async def executions(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    q: Words = None,
    before: UUID | None = None,
    fragment: Fragment = False,
) -> Response:
    """The list, newest first; as ``fragment`` only its rows."""
    _, counter = await panel.reader.changes(None)
    rows = await panel.reader.timeline(
        query=clean(q or ""),
        before=str(before) if before else None,
        limit=ROWS + 1,
        visible=user.sees(panel.settings),
    )
    shown = rows[:ROWS]
    context = {
        "rows": [_listed(row) for row in shown],
        "query": q or "",
        "before": before,
        "older": shown[-1]["fid"] if len(rows) > ROWS else None,
        "counter": counter,
    }
    return page(request, "_rows.html" if fragment else "executions.html", context)


@router.get("/executions/{fid}")
async def execution(request: Request, panel: Panel, execution: Execution) -> Response:
    """Everything about one execution up to now; ``panel.js`` takes it from there."""
    end = execution["last_seq"]
    context = {"row": execution, "cursor": end, "head": _head(panel, execution)}
    for name in PANES:
        context[name] = await _pane(panel, execution["fid"], name, end + 1)
    return page(request, "execution.html", context)


@router.get("/executions/{fid}/head")
async def head(request: Request, panel: Panel, execution: Execution) -> Response:
    """The parts of the page that stand for the execution as a whole."""
    return page(request, "_head.html", {"row": execution, "head": _head(panel, execution)})


@router.get("/executions/{fid}/{pane}")
async def earlier(
    request: Request,
    panel: Panel,
    execution: Execution,
    pane: Pane,
    before: Annotated[int, Query(ge=1, le=MAX_CURSOR)] = MAX_CURSOR,
    fragment: Fragment = False,
) -> Response:
    """What came before, of the log or the output; as ``fragment`` without a page around it."""
    found = await _pane(panel, execution["fid"], pane, before)
    context = {"row": execution, "title": title(execution), "name": pane, "pane": found}
    return page(request, "_pane.html" if fragment else "earlier.html", context)


async def _pane(panel: State, fid: str, name: str, before: int) -> dict[str, Any]:
    kinds, limit = PANES[name]
    events = await panel.reader.latest(fid, before, kinds=kinds, limit=limit + 1)
    # One more than is shown tells whether there are earlier ones; so does a page cut by size.
    shown = events[-limit:]
    first = shown[0].seq if shown else 0
    if len(events) <= limit and shown:
        more = bool(await panel.reader.latest(fid, first, kinds=kinds, limit=1))
    else:
        more = len(events) > limit
    # Many long texts take a while to render; other requests go on meanwhile.
    items = await asyncio.to_thread(lambda: list(_items(shown)))
    return {"kind": name, "items": items, "first": first if more else None}


def _items(events: Iterable[StoredEvent]) -> Iterable[dict[str, Any]]:
    attempt = 1
    for event in events:
        if event.attempt > attempt:
            attempt = event.attempt
            yield {"divider": attempt}
        yield {
            "seq": event.seq,
            "ts": event.ts,
            "kind": event.kind,
            "html": Markup(render(event.kind, event.payload)),
        }


def _listed(row: Row) -> dict[str, Any]:
    return {
        "fid": row["fid"],
        "title": title(row),
        "flow_name": row["flow_name"] if row["flow_name"] != title(row) else None,
        "status": row["status"],
        "state": _state_word(row),
        "began": row["started_at"] or row["created_at"],
        "runtime": runtime(row),
        "live": row["status"] not in TERMINAL and row["started_at"] is not None,
        "tags": row["tags"] or [],
        "error": row["error"] if row["status"] == Status.ERROR else None,
        "progress": _progress(row),
    }


def _head(panel: State, row: Row) -> dict[str, Any]:
    envelope = final_envelope(row) if row["status"] == Status.FINISHED else None
    return _listed(row) | {
        "result": Markup(render(Kind.FINAL, envelope)) if envelope else None,
        "inputs": Markup(render(Kind.INPUTS, row["inputs"])) if row["inputs"] else None,
        "attempt": row["attempt"],
        "links": links(panel.settings, row),
        "details": {
            label: row[column]
            for label, column in (
                ("Flow", "flow_name"),
                ("Description", "description"),
                ("Entry point", "entry_point"),
                ("App", "app_url"),
                ("Owner", "username"),
                ("Author", "author"),
                ("Organization", "organization"),
                ("Version", "version"),
                ("Deployment", "deployment_id"),
                ("Work pool", "work_pool"),
            )
            if row[column]
        },
    }


def _progress(row: Row) -> Markup | None:
    if not row["progress"] or row["status"] in TERMINAL:
        return None
    return Markup(render(Kind.PROGRESS, row["progress"]))


def _state_word(row: Row) -> str | None:
    """Prefect's own word if it says more than ours."""
    name: str | None = row["state_name"]
    said = {"Completed", "Failed", "Running", "Pending", None}
    return None if name in said else name
