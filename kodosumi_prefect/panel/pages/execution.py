"""One live page for each execution."""

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from markupsafe import Markup

from kodosumi_prefect.events import MAIN_KINDS, STDIO_KINDS, Kind, Status
from kodosumi_prefect.panel.executions import Row, final_envelope, title
from kodosumi_prefect.panel.jinja import page
from kodosumi_prefect.panel.pages.listed import listed
from kodosumi_prefect.panel.prefect_api import links
from kodosumi_prefect.panel.render import render
from kodosumi_prefect.panel.state import MAX_CURSOR, Execution, Panel, State
from kodosumi_prefect.spooler.reader import StoredEvent

LINES = 500  # log events that a page begins with, and that "earlier" adds
CARDS = 100  # results and the like, likewise

# The head of the page shows the others.
OUTPUT_KINDS = sorted(MAIN_KINDS - {Kind.META, Kind.INPUTS, Kind.STATUS, Kind.FINAL, Kind.PROGRESS})
PANES = {"log": (sorted(STDIO_KINDS), LINES), "output": (OUTPUT_KINDS, CARDS)}

router = APIRouter(include_in_schema=False)

Pane = Literal["log", "output"]
Fragment = Annotated[bool, Query()]


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


def _head(panel: State, row: Row) -> dict[str, Any]:
    envelope = final_envelope(row) if row["status"] == Status.FINISHED else None
    return listed(row) | {
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
