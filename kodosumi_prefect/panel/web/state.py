"""What the routes share, and what they take from a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, HTTPException, Query, Request

from kodosumi_prefect.panel.accounts.identification import Identification
from kodosumi_prefect.panel.accounts.requester import CurrentUser
from kodosumi_prefect.panel.audit.trail import Trail
from kodosumi_prefect.panel.executions.rows import Row
from kodosumi_prefect.panel.executions.streams import Streams
from kodosumi_prefect.panel.services.calls import Services
from kodosumi_prefect.panel.services.register.register import Register
from kodosumi_prefect.panel.system.metrics import Metrics
from kodosumi_prefect.panel.system.rates import Rates
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.reader import EVERYTHING, Reader, Visible

EXTENDED_WAIT = 30.0  # seconds that `extended` waits for an execution
EXTENDED_POLL = 0.2  # seconds
MAX_CURSOR = 2**63 - 1


@dataclass(frozen=True, slots=True)
class State:
    """The open connections of a running panel."""

    settings: Settings
    reader: Reader
    feed: Feed
    streams: Streams
    metrics: Metrics
    identification: Identification
    services: Services
    register: Register
    trail: Trail
    rates: Rates = field(default_factory=Rates)


async def _state(request: Request) -> State:
    state = request.app.state.panel
    assert isinstance(state, State)
    return state


Panel = Annotated[State, Depends(_state)]
Cursor = Annotated[int, Query(ge=0, le=MAX_CURSOR)]


async def _seat(request: Request, panel: Panel, user: CurrentUser) -> AsyncIterator[None]:
    with panel.streams.seat(user.id):
        request.state.seated = True
        yield


# For ``dependencies=`` of a route that answers with a stream, so that it comes before all others.
Seat = Depends(_seat)


async def _execution(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    fid: UUID,
    extended: Annotated[
        bool, Query(description="Wait up to 30 seconds for an execution that does not exist yet.")
    ] = False,
) -> Row:
    patience = EXTENDED_WAIT if extended else 0.0
    seated = not extended or getattr(request.state, "seated", False)
    with nullcontext() if seated else panel.streams.seat(user.id):
        return await wait_for_execution(panel, fid, patience, user.sees(panel.settings), request)


async def wait_for_execution(
    panel: State,
    fid: UUID,
    patience: float,
    visible: Visible = EVERYTHING,
    request: Request | None = None,
) -> Row:
    """The row of an execution, waiting up to ``patience`` seconds for it.

    Arguments:
        request: of the one who waits; the wait ends when they are gone.

    Raises:
        HTTPException: 404, there is none, or none that may be seen.
    """
    deadline = asyncio.get_running_loop().time() + patience
    while (row := await panel.reader.status(str(fid), visible)) is None:
        if asyncio.get_running_loop().time() >= deadline or panel.streams.closing.is_set():
            raise HTTPException(404, f"there is no execution {fid}")
        await asyncio.sleep(EXTENDED_POLL)
        if request is not None and await request.is_disconnected():
            raise HTTPException(404, f"there is no execution {fid}; its client has disconnected")
    return row


Execution = Annotated[Row, Depends(_execution)]
