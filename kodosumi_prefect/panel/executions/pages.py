"""One live page for each execution: its head, and a tab for each way to look at its events."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from markupsafe import Markup

from kodosumi_prefect.events import TERMINAL, Kind, Status
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.executions import actions
from kodosumi_prefect.panel.executions.headings import listed
from kodosumi_prefect.panel.executions.panes import PANES, PaneQuery, pane_query, stretch
from kodosumi_prefect.panel.executions.rows import final_envelope, title
from kodosumi_prefect.panel.executions.run_again import again_url
from kodosumi_prefect.panel.executions.streams import EventStream, View
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.panel.web.parameters import Cursor, Execution, Panel, Seat
from kodosumi_prefect.panel.web.prefect_links import links
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import moment, page
from kodosumi_prefect.stream.rows import StoredExecution

EXPORTED = 2000  # events read at once for a download
LIVE = View(None, html=True, named=True)

TABS = {
    "output": "Output",
    "reasoning": "Reasoning",
    "tasks": "Tasks",
    "log": "Log",
    "inputs": "Inputs",
    "raw": "Raw",
}

router = APIRouter(include_in_schema=False)

Wish = Annotated[PaneQuery, Depends(pane_query)]
Question = Annotated[Literal["cancel", "archive"] | None, Query()]


@router.get("/executions/{fid}")
async def execution(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    execution: Execution,
    wish: Wish,
    tab: str = "output",
    ask: Question = None,
    archived: bool = False,
) -> Response:
    """Everything about one execution up to now; ``execution.js`` takes it from there."""
    if execution.archived_at is not None and not archived:
        return page(request, "archived.html", _archived(execution), status_code=410)
    chosen = tab if tab in TABS else "output"
    context = {
        "row": execution,
        "cursor": execution.last_seq,
        "head": await _head(panel, execution),
        "mine": user.owns(execution.owner),
        "tabs": TABS,
        "tab": chosen,
        "ask": ask,
        "panes": PANES,
        "pane": await stretch(panel, execution, chosen, wish) if chosen in PANES else None,
    }
    return page(request, "execution.html", context)


@router.get("/executions/{fid}/head")
async def head(request: Request, panel: Panel, user: CurrentUser, execution: Execution) -> Response:
    """The parts of the page that stand for the execution as a whole."""
    context = {
        "row": execution,
        "head": await _head(panel, execution),
        "mine": user.owns(execution.owner),
    }
    return page(request, "_head.html", context)


@router.get("/executions/{fid}/live", dependencies=[Seat])
async def live(
    request: Request, panel: Panel, execution: Execution, after: Cursor = 0
) -> EventStream:
    """All events rendered, in one stream: a browser has few connections to one host."""
    return panel.streams.open(request, execution.fid, after, LIVE)


@router.get("/executions/{fid}/events.jsonl")
async def download(panel: Panel, execution: Execution) -> Response:
    """All events up to now, one JSON object per line."""
    return StreamingResponse(
        _lines(panel, execution.fid, execution.last_seq),
        media_type="application/jsonl",
        headers={"Content-Disposition": f'attachment; filename="{execution.fid}.jsonl"'},
    )


@router.post("/executions/{fid}/cancel")
async def cancel(panel: Panel, user: CurrentUser, execution: Execution) -> Response:
    """Cancel it, and back to its page; errors as of ``POST /outputs/{fid}/cancel``."""
    await actions.cancel_execution(panel, user, UUID(execution.fid))
    return RedirectResponse(f"../{execution.fid}", 303)


@router.post("/executions/{fid}/archive")
async def archive(panel: Panel, user: CurrentUser, execution: Execution) -> Response:
    """Archive it, and back to the list; errors as of ``DELETE /outputs/{fid}``."""
    await actions.archive(panel, user, execution)
    return RedirectResponse("../../executions", 303)


def _part(name: str) -> Callable[..., Awaitable[Response]]:
    async def part(request: Request, panel: Panel, execution: Execution, wish: Wish) -> Response:
        pane = await stretch(panel, execution, name, wish)
        return page(request, "_pane.html", {"row": execution, "pane": pane})

    return part


# One route each: other areas have paths below `/executions/{fid}` as well.
for _name in PANES:
    router.add_api_route(f"/executions/{{fid}}/{_name}", _part(_name), methods=["GET"])


async def _lines(panel: State, fid: str, until: int) -> AsyncIterator[bytes]:
    cursor = 0
    while cursor < until:
        batch = await panel.reader.page(fid, cursor, until=until, limit=EXPORTED)
        yield b"".join(orjson.dumps(_exported(event._asdict())) + b"\n" for event in batch.events)
        if not batch.more or not batch.events:
            return
        cursor = batch.events[-1].seq


def _exported(event: dict[str, Any]) -> dict[str, Any]:
    """An event as ``/outputs/events`` has it."""
    return {"seq": event["seq"], "timestamp": event["ts"]} | {
        name: event[name] for name in ("kind", "payload", "attempt", "source")
    }


def _archived(row: StoredExecution) -> dict[str, Any]:
    return {"title": title(row), "fid": row.fid, "when": moment(row.archived_at)}


async def _head(panel: State, row: StoredExecution) -> dict[str, Any]:
    envelope = final_envelope(row) if row.status == Status.FINISHED else None
    return listed(row) | {
        "ran_again": await panel.reader.values("ran_again", fid=row.fid),
        "over": row.status in TERMINAL,
        "again": await again_url(panel.reader, row.fid, list(panel.services.mounted)),
        "ended": row.ended_at,
        "result": Markup(render(Kind.FINAL, envelope)) if envelope else None,
        "traceback": await _traceback(panel, row),
        "inputs": Markup(render(Kind.INPUTS, row.inputs)) if row.inputs else None,
        "attempt": row.attempt,
        "owner": row.username,
        "locks": row.locks,
        "archived": row.archived_at,
        "links": links(panel.settings, row),
        "details": {
            label: value
            for label, value in (
                ("Flow", row.flow_name),
                ("Description", row.description),
                ("Entry point", row.entry_point),
                ("App", row.app_url),
                ("Owner", row.username),
                ("Author", row.author),
                ("Organization", row.organization),
                ("Version", row.version),
                ("Deployment", row.deployment_id),
                ("Work pool", row.work_pool),
            )
            if value
        },
    }


async def _traceback(panel: State, row: StoredExecution) -> Markup | None:
    """The error that a failed execution ended with, if it has more than the one line."""
    if row.status != Status.ERROR:
        return None
    errors = await panel.reader.latest(row.fid, row.last_seq + 1, kinds=[Kind.ERROR], limit=1)
    if not errors or "\n" not in errors[0].payload.strip():
        return None
    return Markup(render(Kind.ERROR, errors[0].payload))
