"""One execution: its status, its live streams, its result, its events by the page."""

from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from kodosumi_prefect.events import Kind, clean
from kodosumi_prefect.panel.executions.rows import (
    NO_RESULT,
    final_envelope,
    runtime,
    status_of,
    title,
    usage_of,
)
from kodosumi_prefect.panel.executions.streams import (
    MAIN,
    STDIO,
    STREAM,
    TRACED,
    EventStream,
    View,
)
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.panel.web.answers import EventPage, ExecutionStatus, StreamedEvent, Trace
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import (
    MAX_CURSOR,
    Cursor,
    Execution,
    Panel,
    ReadsContents,
    Seat,
)
from kodosumi_prefect.panel.web.prefect_links import links
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.stream.reader import ANYWHERE, Origin

PAGE = 1000  # events of one answer, at most
MOST_SPANS = 5000  # of one answer
SPAN = 50_000  # events looked through for one answer, where no index helps

router = APIRouter(prefix="/outputs", tags=["Executions"])

After = Annotated[
    Cursor | None, Query(description="The seq of the last event you have; 0 or none: from 1.")
]
LastEventId = Annotated[
    str | None, Header(description="Sent by an EventSource that reconnects; wins over `after`.")
]
Raw = Annotated[str | None, Query(description="Present: payloads as stored, not as HTML.")]


Name = Annotated[str | None, Query(max_length=1000)]


def _origin(
    task_run: Annotated[Name, Query(description="Id or name of a Prefect task run.")] = None,
    subflow: Annotated[Name, Query(description="Id or name of a subflow's run.")] = None,
    node: Annotated[Name, Query(description="Name of the machine.")] = None,
    pid: Annotated[int | None, Query(ge=0, le=MAX_CURSOR, description="The process.")] = None,
) -> Origin:
    return Origin(_clean(task_run), _clean(subflow), _clean(node), pid)


class Json(Response):
    """JSON written at once: payloads can be many and long."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


ENVELOPE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The envelope.",
        "content": {"application/json": {"schema": {"type": "object", "maxProperties": 1}}},
    }
}


@router.get(
    "/status/{fid}",
    summary="Status and result of an execution",
    responses=answers(ExecutionStatus) | problems(404, 429),
)
async def status(panel: Panel, execution: Execution) -> dict[str, Any]:
    """`final` is the stored envelope as a JSON string, in a failed run the error's message.

    `links` lead to `flow_run`, `deployment` and `work_pool` in Prefect, null where there is none.
    `usage` is what its spans report: `cost` in US dollars, without the `unpriced_calls`.
    """
    return status_of(execution) | {"links": links(panel.settings, execution)}


@router.get(
    "/stream/{fid}",
    response_class=EventStream,
    summary="All events, live",
    responses=answers(StreamedEvent) | problems(404, 429),
    dependencies=[Seat, ReadsContents],
)
async def stream(
    request: Request,
    panel: Panel,
    execution: Execution,
    after: After = None,
    last_event_id: LastEventId = None,
    spans: Annotated[bool, Query(description="`span` events, too.")] = False,
) -> EventStream:
    """Server-sent events `{timestamp}:{payload}`; a last `eof` when the execution is over."""
    view = TRACED if spans else STREAM
    return panel.streams.open(request, execution.fid, _cursor(after, last_event_id), view)


@router.get(
    "/main/{fid}",
    response_class=EventStream,
    summary="Main events, live",
    responses=answers(StreamedEvent) | problems(404, 429),
    dependencies=[Seat, ReadsContents],
)
async def main(
    request: Request,
    panel: Panel,
    execution: Execution,
    after: After = None,
    last_event_id: LastEventId = None,
    raw: Raw = None,
) -> EventStream:
    """As `stream`, only an agent's own events; payloads as HTML."""
    view = _view(MAIN, raw)
    return panel.streams.open(request, execution.fid, _cursor(after, last_event_id), view)


@router.get(
    "/stdio/{fid}",
    response_class=EventStream,
    summary="Log events, live",
    responses=answers(StreamedEvent) | problems(404, 429),
    dependencies=[Seat, ReadsContents],
)
async def stdio(
    request: Request,
    panel: Panel,
    execution: Execution,
    after: After = None,
    last_event_id: LastEventId = None,
    raw: Raw = None,
) -> EventStream:
    """As `stream`, only output, debug lines and errors; payloads as HTML."""
    view = _view(STDIO, raw)
    return panel.streams.open(request, execution.fid, _cursor(after, last_event_id), view)


@router.get(
    "/raw/{fid}",
    response_class=Json,
    summary="The final result as stored",
    responses=ENVELOPE | problems(404),
    dependencies=[ReadsContents],
)
async def raw(execution: Execution) -> Response:
    """The stored envelope; before the end a markdown one that asks for patience."""
    envelope = final_envelope(execution)
    if envelope is None:
        return Json(NO_RESULT)
    return Response(envelope, media_type="application/json")


@router.get(
    "/html/{fid}",
    response_class=HTMLResponse,
    summary="The final result to print",
    responses=problems(404),
    dependencies=[ReadsContents],
)
async def html(request: Request, execution: Execution) -> Response:
    """A page with nothing but the result."""
    envelope = final_envelope(execution) or orjson.dumps(NO_RESULT).decode()
    context = {
        "row": execution,
        "title": title(execution),
        "runtime": runtime(execution),
        "final": Markup(render(Kind.FINAL, envelope)),
    }
    return page(request, "final.html", context)


@router.get(
    "/events/{fid}",
    response_class=Json,
    summary="Events by the page",
    responses=answers(EventPage) | problems(404),
    dependencies=[ReadsContents],
)
async def events(
    panel: Panel,
    execution: Execution,
    after: Cursor = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    kinds: Annotated[
        list[str] | None, Query(description="Only these; comma-separated or repeated.")
    ] = None,
    origin: Annotated[Origin, Depends(_origin)] = ANYWHERE,
) -> Response:
    """`next` is the cursor for the next request; `more`: whether there are further events now.

    With `task_run`, `subflow`, `node` or `pid` an answer looks through 50,000 events at most, so
    it can be empty and say `more`.
    A cursor beyond the end (the database was restored) starts again at 1, with `reset` true.
    """
    last_seq = execution.last_seq
    reset = after > last_seq
    start = 0 if reset else after
    until = last_seq if origin == ANYWHERE else min(start + SPAN, last_seq)
    batch = await panel.reader.page(
        execution.fid, start, until=until, kinds=_kinds(kinds), origin=origin, limit=limit
    )
    items = [
        {
            "seq": event.seq,
            "timestamp": event.ts,
            "kind": event.kind,
            "payload": event.payload,
            "attempt": event.attempt,
            "source": event.source,
        }
        for event in batch.events
    ]
    following = batch.events[-1].seq if batch.more and batch.events else until
    return Json(
        {
            "fid": execution.fid,
            "items": items,
            "next": following,
            "more": batch.more or until < last_seq,
            "reset": reset,
        }
    )


@router.get(
    "/trace/{fid}",
    response_class=Json,
    summary="Spans by the page, and what they took",
    responses=answers(Trace) | problems(404),
)
async def trace(
    panel: Panel,
    execution: Execution,
    after: Cursor = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_SPANS)] = MOST_SPANS,
) -> Response:
    """Spans in the order in which they were first heard of; `next` is the cursor behind them.

    A span changes once more, at its end: until then ask for it again, or follow `span` events.
    """
    spans = await panel.reader.spans(execution.fid, after, limit + 1)
    models = await panel.reader.model_use(execution.fid)
    shown = spans[:limit]
    return Json(
        {
            "fid": execution.fid,
            "usage": usage_of(execution),
            "models": [asdict(use) for use in models],
            "items": shown,
            "next": shown[-1].first_seq if shown else after,
            "more": len(spans) > limit,
        }
    )


def _clean(name: str | None) -> str | None:
    return clean(name) if name else None


def _cursor(after: int | None, last_event_id: str | None) -> int:
    """The seq to continue behind; an EventSource's header is newer than its address."""
    if not last_event_id:
        return after or 0
    if not last_event_id.isascii() or not last_event_id.isdecimal():
        raise HTTPException(422, f"Last-Event-ID is {last_event_id[:80]!r}: not the id of an event")
    if (number := int(last_event_id[:20])) > MAX_CURSOR or len(last_event_id) > 19:
        raise HTTPException(422, f"Last-Event-ID is {last_event_id[:80]}: no stream is that long")
    return number


def _view(view: View, raw: str | None) -> View:
    return view if raw is None or raw.lower() in ("0", "false", "no") else view._replace(html=False)


def _kinds(values: list[str] | None) -> list[str] | None:
    chosen = [kind for value in values or [] for kind in value.split(",") if kind]
    if unknown := set(chosen) - set(Kind):
        names = ", ".join(sorted(unknown))
        raise HTTPException(422, f"kinds is {names[:80]!r}: use some of {', '.join(Kind)}")
    return chosen or None
