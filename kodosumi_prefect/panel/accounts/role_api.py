"""Accounts, for operators; and one's own, for everybody."""

from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from kodosumi_prefect.panel.accounts import actions
from kodosumi_prefect.panel.accounts.accounts import Account
from kodosumi_prefect.panel.accounts.actions import Name, NewRole, RoleChanges
from kodosumi_prefect.panel.accounts.cookies import stay_signed_in, visitor
from kodosumi_prefect.panel.accounts.permissions import (
    CurrentUser,
    InPerson,
    Operator,
    OperatorInPerson,
)
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Panel

router = APIRouter(prefix="/role", tags=["Accounts"])


class Role(BaseModel):
    """An account."""

    id: UUID
    name: str
    email: str | None
    active: bool
    operator: bool


@router.get("", summary="All accounts, by name")
async def roles(panel: Panel, _user: Operator) -> list[Role]:
    return [_role(account) for account in await panel.identification.accounts.all()]


@router.post("", status_code=201, summary="Create an account", responses=problems(400, 409, 413))
async def add_role(request: Request, panel: Panel, _user: OperatorInPerson, new: NewRole) -> Role:
    """409 if the name is taken, upper and lower case alike. 403 for an API key: sign in.

    `name`, `email` and `password` have to be there, else 400; the latter two may be null.
    """
    return _role(await actions.add_account(panel, new, journal(request)))


@router.get("/{name}", summary="One account, by name or id", responses=problems(403, 404))
async def role(panel: Panel, user: CurrentUser, name: Name) -> Role:
    """Operators see all accounts, others their own."""
    return _role(await actions.account_of(panel, user, name))


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
    from_where = visitor(panel.identification, request)
    account = await actions.change_account(panel, user, id, changes, from_where, journal(request))
    if changes.password is not None and account.id == user.id:
        stay_signed_in(panel.identification, request, response, account)
    return _role(account)


@router.delete("/{id}", status_code=204, summary="Delete an account", responses=problems(404, 409))
async def remove_role(request: Request, panel: Panel, _user: OperatorInPerson, id: UUID) -> None:
    """Its API keys are deleted too; its executions are kept for operators.

    403 for an API key: sign in. 409 if nobody would be left who is an active operator.
    """
    await actions.remove_account(panel, id, journal(request))


def _role(account: Account) -> Role:
    return Role(**account.public())
