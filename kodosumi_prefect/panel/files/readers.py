"""Who may read an execution's files: people who may see it, and its own processes."""

from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import Depends, Request

from kodosumi_prefect.events import TERMINAL
from kodosumi_prefect.files.tokens import TOKEN_HEADER, TokenError, read_token
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.executions.actions import wait_for_execution
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ForbiddenError, UnidentifiedError


class Reading(NamedTuple):
    """An execution whose files may be read.

    Attributes:
        is_run: by a process of that execution.
    """

    fid: str
    is_run: bool


async def require_run(panel: State, token: str | None, fid: str) -> None:
    """Let in a process of an execution that is not over.

    Raises:
        UnidentifiedError: the token is none of ours.
        ForbiddenError: it is another execution's, or this one is over.
    """
    if token is None:
        raise UnidentifiedError(f"send the run's token in the header {TOKEN_HEADER}")
    try:
        said = read_token(token, panel.settings)
    except (TokenError, NoKeyError) as exc:
        raise UnidentifiedError(str(exc)) from exc
    if said.fid != fid:
        raise ForbiddenError("this token is another execution's")
    execution = await panel.reader.status(fid)
    if execution is not None and execution.status in TERMINAL:
        raise ForbiddenError("this execution is over, and its token with it")


async def _run(request: Request, panel: Panel, fid: UUID) -> str:
    await require_run(panel, request.headers.get(TOKEN_HEADER), str(fid))
    return str(fid)


async def _reading(request: Request, panel: Panel, fid: UUID) -> Reading:
    user = getattr(request.state, "user", None)
    if isinstance(user, User):
        return Reading((await wait_for_execution(panel, fid, user.sees(panel.settings))).fid, False)
    return Reading(await _run(request, panel, fid), True)


# The fid of the execution whose process sends the request.
RunId = Annotated[str, Depends(_run)]
FileReader = Annotated[Reading, Depends(_reading)]
