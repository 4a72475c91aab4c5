"""Accounts, for operators."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from kodosumi_prefect.database.rows.accounts import SeenAccount
from kodosumi_prefect.panel.accounts import actions
from kodosumi_prefect.panel.accounts.accounts import Account, NameTakenError
from kodosumi_prefect.panel.accounts.actions import (
    InvalidNameError,
    InvalidPasswordError,
    NewRole,
    RoleChanges,
    require_passwords,
)
from kodosumi_prefect.panel.accounts.cookies import visitor
from kodosumi_prefect.panel.accounts.passwords import random_password
from kodosumi_prefect.panel.accounts.permissions import Operator, OperatorInPerson, User
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.html.parts import complaints, part_or_page, sentence
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ForbiddenError, NotFoundError, RefusedError

WORDS = {
    "name": "A name has 1 to 200 characters.",
    "email": "This is not an email address.",
    "password": "A password has 8 to 1024 characters.",
}

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form()]
Box = Annotated[bool, Form()]


@router.get("/users")
async def whole(request: Request, panel: Panel, _: Operator) -> Response:
    """All accounts, and a form for another one."""
    return await _list(request, panel)


@router.post("/users")
async def add(
    request: Request,
    panel: Panel,
    _: OperatorInPerson,
    name: Text = "",
    email: Text = "",
    password: Text = "",
    generate: Box = False,
    operator: Box = False,
) -> Response:
    """Make an account; a generated password is shown this once."""
    passwords = panel.settings.auth == "password"
    secret = (random_password() if generate else password) if passwords else None
    typed = {"name": name, "email": email, "operator": operator, "generate": generate}
    try:
        new = NewRole(name=name, email=email or None, password=secret, operator=operator)
        account = await actions.add_account(panel, new, journal(request))
    except ValidationError as exc:
        return await _list(request, panel, complaints(exc, WORDS), typed=typed)
    except RefusedError as exc:
        return await _list(request, panel, _by_field(exc), typed=typed)
    generated = secret if generate else None
    return await _list(request, panel, added=account.name, secret=generated)


@router.get("/users/{id}")
async def one(request: Request, panel: Panel, _: Operator, id: UUID) -> Response:
    """One account, to be changed."""
    return await _one(request, panel, id)


@router.post("/users/{id}")
async def change(
    request: Request,
    panel: Panel,
    user: OperatorInPerson,
    id: UUID,
    name: Text = "",
    email: Text = "",
    operator: Box = False,
    active: Box = False,
) -> Response:
    """Change name, email and rights of an account."""
    fields = {"name": name, "email": email, "operator": operator, "active": active}
    try:
        await _change(request, panel, user, id, RoleChanges.model_validate(fields))
    except ValidationError as exc:
        return await _one(request, panel, id, complaints(exc, WORDS), typed=fields)
    except RefusedError as exc:
        return await _one(request, panel, id, _by_field(exc), typed=fields)
    return await _one(request, panel, id, notice="Saved.")


@router.post("/users/{id}/password")
async def set_password(
    request: Request,
    panel: Panel,
    user: OperatorInPerson,
    id: UUID,
    password: Text = "",
    generate: Box = False,
) -> Response:
    """Give somebody a new password; one's own is changed at the account page."""
    require_passwords(panel)
    if str(id) == user.id:
        raise ForbiddenError("change your own password at your account page")
    secret = random_password() if generate else password
    try:
        changes = RoleChanges.model_validate({"password": secret})
        await _change(request, panel, user, id, changes)
    except ValidationError as exc:
        return await _one(request, panel, id, complaints(exc, WORDS))
    except RefusedError as exc:
        return await _one(request, panel, id, _by_field(exc))
    notice = "The password is set; sessions of this account have ended."
    return await _one(request, panel, id, notice=notice, secret=secret if generate else None)


@router.post("/users/{id}/delete")
async def remove(request: Request, panel: Panel, _: OperatorInPerson, id: UUID) -> Response:
    """Delete an account, and go back to the others."""
    try:
        await actions.remove_account(panel, id, journal(request))
    except RefusedError as exc:
        return await _one(request, panel, id, {"": sentence(exc.detail)})
    target = f"{request.scope.get('root_path', '')}/users"
    if "hx-request" in request.headers:
        return Response(status_code=200, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


async def _change(
    request: Request, panel: State, user: User, id: UUID, changes: RoleChanges
) -> None:
    from_where = visitor(panel.identification, request)
    await actions.change_account(panel, user, id, changes, from_where, journal(request))


async def _list(
    request: Request,
    panel: State,
    wrong: dict[str, str] | None = None,
    *,
    typed: dict[str, Any] | None = None,
    added: str | None = None,
    secret: str | None = None,
) -> Response:
    context = {
        "accounts": await panel.identification.accounts.all(),
        "seen": await _seen(panel),
        "passwords": panel.settings.auth == "password",
        "wrong": wrong or {},
        "typed": typed or {"generate": True},
        "added": added,
        "secret_once": secret,
    }
    return part_or_page(request, "users.html", "_users_part.html", context, wrong=bool(wrong))


async def _one(
    request: Request,
    panel: State,
    id: UUID,
    wrong: dict[str, str] | None = None,
    *,
    typed: dict[str, Any] | None = None,
    notice: str | None = None,
    secret: str | None = None,
) -> Response:
    account = await _known(panel, id)
    context = {
        "account": account,
        "fields": typed or account.public(),
        "seen": (await _seen(panel)).get(account.id),
        "passwords": panel.settings.auth == "password",
        "wrong": wrong or {},
        "notice": notice,
        "secret_once": secret,
    }
    return part_or_page(request, "user.html", "_user_part.html", context, wrong=bool(wrong))


async def _known(panel: State, id: UUID) -> Account:
    account = await panel.identification.accounts.by_id(str(id))
    if account is None:
        raise NotFoundError(f"there is no account {id}")
    return account


async def _seen(panel: State) -> dict[str, datetime]:
    return {row.id: row.seen_at for row in await panel.reader.rows_of(SeenAccount, "roles_seen")}


def _by_field(exc: RefusedError) -> dict[str, str]:
    """What was refused, at the field it is about."""
    match exc:
        case InvalidPasswordError():
            return {"password": WORDS["password"]}
        case InvalidNameError():
            return {"name": sentence(exc.reason)}
        case NameTakenError():
            return {"name": sentence(exc.detail)}
    return {"": sentence(exc.detail)}
