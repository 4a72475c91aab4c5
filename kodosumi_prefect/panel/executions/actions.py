"""What people do to executions: look for one, cancel it, retry it, archive it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from prefect.exceptions import PrefectException

from kodosumi_prefect.addresses import NoPrefectError, no_answer, require_prefect_access
from kodosumi_prefect.events import TERMINAL
from kodosumi_prefect.launch.masking import MASK
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.executions.cancellation import (
    NotCancelledError,
    UnknownRunError,
    cancel,
)
from kodosumi_prefect.panel.executions.retrying import NO_PASSWORDS, NotRetriedError, retry
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import (
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UpstreamError,
)
from kodosumi_prefect.stream.reader import EVERYTHING, Visible
from kodosumi_prefect.stream.rows import StoredExecution

POLL = 0.2  # seconds between looks for an execution that does not exist yet
AT_ONCE = 8  # requests to Prefect at once


class UnknownExecutionError(NotFoundError):
    """There is no such execution, or none that may be seen."""


class Archived(NamedTuple):
    """The result of archiving several executions.

    Attributes:
        fids: of those that are archived by this.
        failures: by fid, why the others are not.
    """

    fids: list[UUID]
    failures: dict[UUID, str]


async def _never() -> bool:
    return False


async def wait_for_execution(
    panel: State,
    fid: UUID,
    visible: Visible = EVERYTHING,
    patience: float = 0.0,
    disconnected: Callable[[], Awaitable[bool]] = _never,
) -> StoredExecution:
    """The row of an execution, waiting up to ``patience`` seconds for it.

    Arguments:
        disconnected: whether the one who waits is gone; the wait ends then.

    Raises:
        UnknownExecutionError: there is none, or none that may be seen.
    """
    deadline = asyncio.get_running_loop().time() + patience
    while (row := await panel.reader.status(str(fid), visible)) is None:
        if asyncio.get_running_loop().time() >= deadline or panel.streams.closing.is_set():
            raise UnknownExecutionError(f"there is no execution {fid}")
        await asyncio.sleep(POLL)
        if await disconnected():
            raise UnknownExecutionError(f"there is no execution {fid}; its client has disconnected")
    return row


async def cancel_execution(panel: State, user: User, fid: UUID) -> str:
    """Ask Prefect to cancel a run; the name of its state now.

    Raises:
        ForbiddenError, UnknownExecutionError: it is not theirs, or there is none.
        UpstreamError, UnknownRunError, NotCancelledError: as ``cancel_run``.
    """
    if not user.operator:
        # Operators also cancel runs that nobody recorded yet, and that so have no owner.
        _require_own(user, await wait_for_execution(panel, fid, user.sees(panel.settings)))
    return await cancel_run(panel, fid)


async def archive(panel: State, user: User, execution: StoredExecution) -> None:
    """Cancel it if it runs, then take it out of all lists; its record stays.

    Raises:
        ForbiddenError: it is not theirs.
        UpstreamError: it runs, and Prefect does not answer.
    """
    _require_own(user, execution)
    await end(panel, execution)
    await panel.reader.execute("set_archived", fids=[execution.fid], archived=True)


async def archive_all(panel: State, user: User, fids: Sequence[UUID]) -> Archived:
    """As ``archive``; those that cannot be archived do not stop the others."""
    visible = user.sees(panel.settings)
    few = asyncio.Semaphore(AT_ONCE)

    async def one(fid: UUID) -> str | None:
        async with few:
            try:
                row = await wait_for_execution(panel, fid, visible)
                _require_own(user, row)
                await end(panel, row)
            except RefusedError as exc:
                return exc.detail
        return None

    troubles = dict(zip(fids, await asyncio.gather(*map(one, fids)), strict=True))
    ended = [str(fid) for fid, trouble in troubles.items() if trouble is None]
    archived = await panel.reader.values("set_archived", fids=ended, archived=True) if ended else []
    return Archived(
        [UUID(fid) for fid in archived],
        {fid: trouble for fid, trouble in troubles.items() if trouble is not None},
    )


async def end(panel: State, execution: StoredExecution) -> None:
    """Cancel an execution that is not over; one that Prefect says is over, or forgot, is."""
    if execution.status in TERMINAL:
        return
    try:
        await cancel_run(panel, UUID(execution.fid))
    except (UnknownRunError, NotCancelledError):
        return


async def cancel_run(panel: State, fid: UUID) -> str:
    """Ask Prefect to cancel a run, whoever owns it; the name of its state now.

    Raises:
        UpstreamError: Prefect is not known or does not answer.
        UnknownRunError: Prefect has no such flow run.
        NotCancelledError: it is over, or Prefect's rules forbid it.
    """
    state = await _asked(panel, cancel(fid, "Cancelled in the panel."))
    panel.cancelled.add(str(fid))
    return state


async def retry_execution(panel: State, user: User, execution: StoredExecution) -> str:
    """Ask Prefect for a further attempt of a run that is over; the name of its state now.

    Raises:
        ForbiddenError: it is not theirs.
        UpstreamError: Prefect is not known or does not answer.
        UnknownRunError: Prefect has no such flow run.
        NotRetriedError: it is not over, nobody would pick it up, or its passwords are gone.
    """
    _require_own(user, execution)
    if execution.status not in TERMINAL:
        raise NotRetriedError(f"{execution.fid} cannot be retried: it is not over")
    if await panel.reader.values("lost_secrets", fid=execution.fid, mask=f'%"{MASK}"%'):
        raise NotRetriedError(f"{execution.fid} cannot be retried: {NO_PASSWORDS}")
    state = await _asked(panel, retry(UUID(execution.fid), "Retried in the panel."))
    panel.cancelled.discard(execution.fid)
    return state


async def _asked(panel: State, request: Coroutine[Any, Any, str]) -> str:
    """What Prefect answers, asked where the panel's own requests go.

    Raises:
        UpstreamError: Prefect is not known or does not answer.
    """
    try:
        access = require_prefect_access(panel.settings)
    except NoPrefectError as exc:
        request.close()
        raise UpstreamError(str(exc)) from None
    try:
        with access.in_force():
            return await request
    except (httpx.HTTPError, PrefectException) as exc:
        raise UpstreamError(no_answer(access, exc)) from exc


def _require_own(user: User, execution: StoredExecution) -> None:
    if not user.owns(execution.owner):
        raise ForbiddenError("only its owner and operators may do this to an execution")
