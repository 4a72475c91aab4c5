"""Accounts, for operators; and one's own, for everybody."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from kodosumi_prefect.panel.accounts.accounts import (
    Account,
    LastOperatorError,
    NameTakenError,
    UnknownAccountError,
)
from kodosumi_prefect.panel.accounts.attempts import TooManyAttemptsError
from kodosumi_prefect.panel.accounts.login import remember, signed_in
from kodosumi_prefect.panel.accounts.passwords import WeakPasswordError, checked_password
from kodosumi_prefect.panel.accounts.requester import (
    CurrentUser,
    InPerson,
    Operator,
    OperatorInPerson,
    User,
)
from kodosumi_prefect.panel.accounts.sessions import new_session
from kodosumi_prefect.panel.audit.changes import record_changes
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.state import Panel, State
from kodosumi_prefect.vocabulary import API_KEY_HEADER

router = APIRouter(prefix="/role", tags=["Accounts"])

Name = Annotated[str, StringConstraints(max_length=1000)]
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]
Password = Annotated[str, StringConstraints(max_length=10_000)]


class Role(BaseModel):
    """An account."""

    id: UUID
    name: str
    email: str | None
    active: bool
    operator: bool


class NewRole(BaseModel):
    """An account to be made; without a password it can be used through API keys or a proxy only."""

    name: Name
    email: Email | None = None
    password: Password | None = None
    active: bool = True
    operator: bool = False


class RoleChanges(BaseModel):
    """What to change; what is left out stays as it is."""

    name: Name | None = None
    email: Email | None = Field(None, description="null: remove it")
    password: Password | None = None
    old_password: Password | None = Field(None, description="needed to change one's own password")
    active: bool | None = None
    operator: bool | None = None


@router.get("", summary="All accounts, by name")
async def roles(panel: Panel, _user: Operator) -> list[Role]:
    return [_role(account) for account in await panel.identification.accounts.all()]


@router.post("", status_code=201, summary="Create an account", responses=problems(400, 409, 413))
async def add_role(request: Request, panel: Panel, _user: OperatorInPerson, new: NewRole) -> Role:
    """409 if the name is taken, upper and lower case alike. 403 for an API key: sign in."""
    hashed = None if new.password is None else await _hashed(panel, new.password)
    try:
        made = await panel.identification.accounts.add(
            new.name,
            email=new.email,
            password=hashed,
            operator=new.operator,
            active=new.active,
        )
    except NameTakenError as exc:
        raise HTTPException(409, str(exc)) from exc
    except ValueError as exc:
        raise HTTPException(422, f"name is {new.name[:80]!r}: {exc}") from exc
    whose = Target("account", made.id, made.name)
    record(request, Action.ACCOUNT_CREATE, whose, operator=made.operator)
    return _role(made)


@router.get("/{name}", summary="One account, by name or id", responses=problems(403, 404))
async def role(panel: Panel, user: CurrentUser, name: Name) -> Role:
    """Operators see all accounts, others their own."""
    return _role(await _known(panel, user, name))


@router.put("/{id}", summary="Change an account", responses=problems(400, 404, 409, 413, 429))
async def change_role(
    request: Request,
    response: Response,
    panel: Panel,
    user: InPerson,
    id: UUID,
    changes: RoleChanges,
) -> Role:
    """Operators change all accounts; others their own email and password.

    To change one's own password, `old_password` is needed. A new password, and `active: false`,
    end all sessions of the account but the browser's that asked for it. 409 if the name is
    taken, or nobody would be left who is an active operator. An API key changes nothing: 403.
    """
    given = changes.model_dump(exclude_unset=True)
    account = await _known(panel, user, str(id))
    record_changes(request, account, given)
    if not user.operator and (beyond := sorted(given.keys() & {"name", "active", "operator"})):
        raise HTTPException(403, f"only operators may change {', '.join(beyond)}")
    hashed = None
    if changes.password is not None:
        if account.id == user.id:
            await _require_old(panel, request, account, changes.old_password or "")
        hashed = await _hashed(panel, changes.password)
    try:
        changed = await panel.identification.accounts.change(
            account.id,
            name=changes.name,
            email=changes.email,
            clear_email="email" in given and changes.email is None,
            password=hashed,
            operator=changes.operator,
            active=changes.active,
        )
    except UnknownAccountError as exc:
        raise HTTPException(404, str(exc)) from exc
    except (NameTakenError, LastOperatorError) as exc:
        raise HTTPException(409, str(exc)) from exc
    except ValueError as exc:
        raise HTTPException(422, f"name is {(changes.name or '')[:80]!r}: {exc}") from exc
    by_cookie = request.headers.get(API_KEY_HEADER) is None and request.state.means == "session"
    if hashed is not None and account.id == user.id and by_cookie:
        remember(panel.identification, request, response, changed, new_session())
    return _role(changed)


@router.delete("/{id}", status_code=204, summary="Delete an account", responses=problems(404, 409))
async def remove_role(request: Request, panel: Panel, _user: OperatorInPerson, id: UUID) -> None:
    """Its API keys are deleted too; its executions are kept for operators.

    403 for an API key: sign in. 409 if nobody would be left who is an active operator.
    """
    try:
        gone = await panel.identification.accounts.remove(str(id))
        record(request, Action.ACCOUNT_DELETE, Target("account", gone.id, gone.name))
    except UnknownAccountError as exc:
        raise HTTPException(404, str(exc)) from exc
    except LastOperatorError as exc:
        raise HTTPException(409, str(exc)) from exc


async def _known(panel: State, user: User, name: str) -> Account:
    """The account that is meant, if ``user`` may know of it."""
    accounts = panel.identification.accounts
    try:
        found = await accounts.by_id(str(UUID(name)))
    except ValueError:
        found = await accounts.by_name(name)
    if not user.operator and (found is None or found.id != user.id):
        raise HTTPException(403, "only operators see other accounts than their own")
    if found is None:
        raise HTTPException(404, f"there is no account {name[:80]!r}")
    return found


async def _require_old(panel: State, request: Request, account: Account, password: str) -> None:
    """Whoever finds somebody's browser open must not be able to take the account over."""
    try:
        known = await signed_in(panel.identification, request, account.name, password)
    except TooManyAttemptsError as exc:
        headers = {"Retry-After": str(round(exc.seconds))}
        raise HTTPException(429, str(exc), headers) from exc
    if known is None:
        raise HTTPException(403, "old_password is wrong")


async def _hashed(panel: State, password: str) -> str:
    try:
        return await panel.identification.passwords.hash(checked_password(password))
    except WeakPasswordError as exc:
        raise HTTPException(422, f"password: {exc}") from exc


def _role(account: Account) -> Role:
    return Role(**account.public())
