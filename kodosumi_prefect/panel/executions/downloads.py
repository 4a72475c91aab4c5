"""What an execution leaves, as files: all its events, its log, its result."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from kodosumi_prefect.panel.executions.log_lines import text_file
from kodosumi_prefect.panel.executions.offsets import began
from kodosumi_prefect.panel.executions.panes import PANES, WINDOW, Wish
from kodosumi_prefect.panel.executions.result_file import result_file
from kodosumi_prefect.panel.web.parameters import Execution, Panel, ReadsContents
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ConflictError

EXPORTED = 2000  # events read at once

router = APIRouter(include_in_schema=False)


@router.get("/executions/{fid}/events.jsonl", dependencies=[ReadsContents])
async def events(panel: Panel, execution: Execution) -> Response:
    """All events up to now, one JSON object per line."""
    return StreamingResponse(
        _lines(panel, execution.fid, execution.last_seq),
        media_type="application/jsonl",
        headers=_named(f"{execution.fid}.jsonl"),
    )


@router.get("/executions/{fid}/log.txt", dependencies=[ReadsContents])
async def log(panel: Panel, execution: Execution, wish: Wish) -> Response:
    """The whole log up to now as text, narrowed and in the order that the query says."""
    text = text_file(
        panel.reader,
        execution.fid,
        until=execution.last_seq,
        kinds=[kind for kind in PANES["log"].kinds if kind in wish.kinds] or PANES["log"].kinds,
        origin_=wish.origin,
        began=began(execution),
        window=WINDOW if wish.order == "time" else 0.0,
    )
    return StreamingResponse(
        text, media_type="text/plain; charset=utf-8", headers=_named(f"{execution.fid}.log.txt")
    )


@router.get("/executions/{fid}/result", dependencies=[ReadsContents])
async def result(execution: Execution) -> Response:
    """The result as a file of its own kind; 409 while there is none."""
    file = result_file(execution)
    if file is None:
        raise ConflictError(f"{execution.fid} has no result: it is {execution.status}")
    return Response(file.content, media_type=file.media_type, headers=_named(file.name))


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


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
