"""Links with which questions are answered: who may make one, and whom one that comes stands for."""

from typing import Any, NamedTuple

from kodosumi_prefect.database.rows.accounts import ActiveRole
from kodosumi_prefect.database.rows.locks import Lock, LockQuestion, StoredLink
from kodosumi_prefect.locks.answering import AnsweredError
from kodosumi_prefect.locks.links import (
    Link,
    NoLinkError,
    find_link,
    hash_of,
    make_link,
    why_no_link,
)
from kodosumi_prefect.panel.accounts.attempts import FIRST_WAIT, FREE, LONGEST_WAIT, WINDOW
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.locks.actions import GUEST, ClosedLockError
from kodosumi_prefect.panel.web.networks import source_of
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ConflictError, ForbiddenError, NotFoundError, TooManyError
from kodosumi_prefect.settings import Settings


class Visit(NamedTuple):
    """Somebody who came by a link.

    Attributes:
        user: the recipient's account, or a name for who has none.
        hash: of the token.
    """

    link: StoredLink
    user: User
    hash: str


def offered(settings: Settings, user: User, lock: LockQuestion) -> dict[str, Any]:
    """What a question's card needs of links: whether ``user`` can make one, or why nobody can."""
    if not lock.link or not settings.answer_links or (lock.quorum > 1 and not user.operator):
        return {"link": False, "why_no_link": None}
    why = why_no_link(settings, lock)
    return {"link": why is None, "why_no_link": why}


async def new_link(
    panel: State,
    user: User,
    lock: Lock,
    *,
    account: str | None,
    recipient: str | None,
    with_code: bool,
) -> Link:
    """A link for an open lock that ``user`` may answer.

    Nobody gets a right by it: who may answer may hand one answer out; where several people have to,
    only operators make links for them.

    Raises:
        ForbiddenError: ``user`` may make none.
        ConflictError: no link is made for this lock, or this recipient.
    """
    if lock.quorum > 1 and not user.operator:
        raise ForbiddenError("several people have to answer; only operators make links for them")
    try:
        return await make_link(
            panel.reader,
            panel.settings,
            lock.fid,
            lock.lid,
            account=account or None,
            recipient=recipient,
            with_code=with_code,
            made_by=user.id,
        )
    except NoLinkError as exc:
        raise ConflictError(str(exc)) from exc
    except AnsweredError as exc:
        raise ClosedLockError(str(exc), answered=exc.answered) from exc


async def visit(panel: State, token: str, address: str) -> Visit:
    """Whom a link stands for.

    Arguments:
        address: of who comes with it; tokens that are none are counted.

    Raises:
        NotFoundError: there is no such link, or links are switched off.
        TooManyError: too many came from there that are none.
        ConflictError: it was used or revoked.
    """
    link = await find_link(panel.reader, token) if panel.settings.answer_links else None
    if link is None:
        await _count(panel, address)
        raise NotFoundError("this link is not valid")
    if link.used:
        raise ConflictError("this link was used: the answer is given")
    if link.revoked:
        raise ConflictError("this link is not valid any more")
    if link.account is None:
        return Visit(link, User(f"{GUEST}{link.recipient.lower()}", link.recipient), hash_of(token))
    roles = await panel.reader.rows_of(ActiveRole, "active_role", id=link.account)
    if not roles:
        raise ConflictError("this link is not valid any more: the account is disabled")
    return Visit(link, User(roles[0].id, roles[0].name, roles[0].operator), hash_of(token))


async def _count(panel: State, address: str) -> None:
    """Count a token that is none, and have whoever tries them in turn wait."""
    key = f"link {source_of(address)}"
    waits = {"free": FREE, "first": FIRST_WAIT, "longest": LONGEST_WAIT}
    if not await panel.reader.values("count_login", key=key, window=WINDOW, **waits):
        left = await panel.reader.values("login_wait", key=key, **waits)
        seconds = max(left[0], 1.0) if left else 1.0
        raise TooManyError(
            f"too many links that are not valid; try again in {seconds:.0f} seconds",
            retry_after=seconds,
        )
