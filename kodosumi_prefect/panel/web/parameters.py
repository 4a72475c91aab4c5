"""What routes take from a request."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, HTTPException, Path, Query, Request

from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.executions.actions import wait_for_execution
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.spooler.open_locks import LONGEST_ID
from kodosumi_prefect.stream.rows import StoredExecution

EXTENDED_WAIT = 30.0  # seconds that `extended` waits for an execution
MAX_CURSOR = 2**63 - 1


async def _state(request: Request) -> State:
    state = request.app.state.panel
    assert isinstance(state, State)
    return state


Panel = Annotated[State, Depends(_state)]
Lid = Annotated[str, Path(max_length=LONGEST_ID, pattern=r"^[\w.:-]+$", description="The lock.")]
Cursor = Annotated[int, Query(ge=0, le=MAX_CURSOR)]


def epoch(name: str, text: str | None) -> float | None:
    """Epoch seconds of an ISO 8601 time, which is UTC without a zone."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        # Postgres knows all years that Python knows, whatever the zone.
        if not 1970 <= time.year <= 9000:
            raise ValueError
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise HTTPException(
            422, f"{name} is {text[:40]!r}; write a time as 2026-01-31T08:00Z"
        ) from None


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
) -> StoredExecution:
    patience = EXTENDED_WAIT if extended else 0.0
    seated = not extended or getattr(request.state, "seated", False)
    with nullcontext() if seated else panel.streams.seat(user.id):
        return await wait_for_execution(
            panel, fid, user.sees(panel.settings), patience, request.is_disconnected
        )


Execution = Annotated[StoredExecution, Depends(_execution)]


async def _recorded_read(
    request: Request, panel: Panel, user: CurrentUser, execution: Execution
) -> None:
    owner = execution.owner
    others = owner is not None and owner != user.id
    if others and panel.content_reads.is_first(user.id, execution.fid):
        record(request, Action.CONTENTS_READ, Target("execution", execution.fid))


# For ``dependencies=`` of a route that shows what a run said, prompts and answers with it:
# an operator who reads another account's is in the audit.
ReadsContents = Depends(_recorded_read)
