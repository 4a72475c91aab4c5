"""Changes of executions and locks, as one stream that a program follows."""

import asyncio
import time
from asyncio import create_task
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi.responses import Response
from fastapi.sse import format_sse_event

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.events import Status, clean
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.web.answers import ChangePage, StreamedChange
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Panel, Seat
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.stream.changes import KINDS, PAGE, Changes, Restarted, Step, Wanted
from kodosumi_prefect.stream.position import LONGEST, START, Position, PositionError

LONGEST_WAIT = 60.0  # seconds that an answer by the page waits
LOCK_STATES = ("open", "leased", "expired", "void")
STATUSES = (*map(str, Status), *LOCK_STATES)
STREAMED: dict[str, Any] = {
    "model": ChangePage,
    "description": "Server-sent events, or with `wait` a page.",
    # Not by its name: FastAPI names the models of one media type.
    "content": {"text/event-stream": {"schema": StreamedChange.model_json_schema()}},
}

router = APIRouter(tags=["Changes"])

Several = Annotated[list[str], Query(max_length=20)]
Named = Annotated[str | None, Query(max_length=1000)]


@router.get(
    "/changes",
    response_model=None,
    summary="Changes of executions and locks, live",
    responses={**problems(429), 200: STREAMED},
    dependencies=[Seat],
)
async def changes(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    since: Annotated[
        str | None,
        Query(
            max_length=LONGEST,
            description="The position of your last change; 0: all there is; none: from now.",
        ),
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="The same, of a client that reconnects; wins over `since`.")
    ] = None,
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            le=LONGEST_WAIT,
            description="Answer a page as JSON, at the latest after so many seconds.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE, description="Of a page.")] = PAGE,
    kind: Annotated[Several, Query(description="`execution`, `lock`, `deletion`.")] = [],  # noqa: B006
    status: Annotated[
        Several, Query(description="Of executions; of locks `open`, `leased`, `expired`, `void`.")
    ] = [],  # noqa: B006
    service: Annotated[Named, Query(description="Address of the service that launched.")] = None,
    flow: Annotated[Named, Query(description="Name of the flow.")] = None,
    owner: Annotated[Named, Query(description="Id of an account; for operators.")] = None,
) -> Response:
    """What changed of what you may see or are asked: each execution and lock as it is now, once.

    An event's name is the item's `kind`, its id the position behind it, its data the item. A client
    that reconnects with its last position, and the same filters, misses nothing and gets nothing
    twice; what changed several times meanwhile comes once. `alive` comes in quiet times, with the
    position too. After `reset`, since the database was restored to before your position, all there
    is comes. Deletions come whatever `status`, `service` and `flow` are.

    With `wait`, `{"items": [{"kind", …}], "next", "more", "reset"}`: ask again with `next` as
    `since`.
    """
    wanted = Wanted(
        user.sees(panel.settings),
        owner=clean(owner) if owner else None,
        flow=clean(flow) if flow else None,
        service=clean(service) if service else None,
        statuses=frozenset(_words("status", status, STATUSES)),
        kinds=frozenset(_words("kind", kind, KINDS) or KINDS),
    )
    position = _position(last_event_id or since)
    if wait is None:
        frames = _frames(panel.changes, position, wanted, panel.streams.quiet)
        return panel.streams.send(request, frames, f"changes of {user.name}")
    return await _page(panel, position, wanted, wait, limit)


async def _frames(
    changes: Changes, position: Position | None, wanted: Wanted, quiet: float
) -> AsyncGenerator[bytes]:
    steps = changes.follow(position, wanted, quiet)
    async with aclosing(steps):
        async for step in steps:
            if isinstance(step, Restarted):
                yield format_sse_event(event="reset", id=str(START), data_str="{}")
                continue
            for change, behind in step.changes:
                yield format_sse_event(event=change.kind, id=str(behind), data_str=change.item)
            if not step.changes:
                alive = f'{{"timestamp":{time.time()}}}'
                yield format_sse_event(event="alive", id=str(step.position), data_str=alive)


async def _page(
    panel: State, position: Position | None, wanted: Wanted, wait: float, limit: int
) -> Response:
    found = await panel.changes.page(position, wanted, limit)
    reset = isinstance(found, Restarted)
    if isinstance(found, Restarted):
        found = await panel.changes.page(START, wanted, limit)
    assert isinstance(found, Step)
    if wait and not found.changes:
        found = await _next(panel, found, wanted, wait)
    items = ",".join(change.item for change, _ in found.changes[:limit])
    if len(found.changes) > limit:
        behind, more = found.changes[limit - 1][1], True
    else:
        behind, more = found.position, found.more
    rest = orjson.dumps({"next": str(behind), "more": more, "reset": reset}).decode()
    return Response(f'{{"items":[{items}],{rest[1:]}', media_type="application/json")


async def _next(panel: State, found: Step, wanted: Wanted, wait: float) -> Step:
    """The next step with changes, or the last without when the time or the panel is up."""

    async def look() -> Step:
        last = found
        steps = panel.changes.follow(found.position, wanted, wait)
        async with aclosing(steps):
            async for step in steps:
                if isinstance(step, Restarted):
                    break  # the next request is told
                last = step
                if step.changes:
                    break
        return last

    looking, closing = create_task(look()), create_task(panel.streams.closing.wait())
    try:
        await asyncio.wait({looking, closing}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        return looking.result() if looking.done() else found
    finally:
        await cancel_all([looking, closing])


def _position(text: str | None) -> Position | None:
    if not text:
        return None
    if text == "0":
        return START
    try:
        return Position.parsed(text)
    except PositionError as exc:
        raise HTTPException(422, f"since: {exc}") from exc


def _words(name: str, values: list[str], known: tuple[str, ...]) -> list[str]:
    words = [word for value in values for word in value.split(",") if word]
    if unknown := [word for word in words if word not in known]:
        raise HTTPException(422, f"{name} is {unknown[0][:40]!r}; use some of {', '.join(known)}")
    return words
