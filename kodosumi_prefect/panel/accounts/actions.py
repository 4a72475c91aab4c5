"""What people do to accounts and API keys, by JSON or on a page."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from kodosumi_prefect.panel.accounts.accounts import Account
from kodosumi_prefect.panel.accounts.api_keys import NewKey
from kodosumi_prefect.panel.accounts.attempts import wait
from kodosumi_prefect.panel.accounts.identification import Identification
from kodosumi_prefect.panel.accounts.passwords import WeakPasswordError, checked_password
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import ForbiddenError, InvalidError, NotFoundError

LONGEST_KEY_LIFE = 3650  # days

Name = Annotated[str, StringConstraints(max_length=1000)]
Email = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]
EmailOrNone = Annotated[
    str, StringConstraints(max_length=320, pattern=r"^([^@\s\x00]+@[^@\s\x00]+)?$")
]
Password = Annotated[str, StringConstraints(max_length=10_000)]


class NewRole(BaseModel):
    """An account to be made; without a password it can be used through API keys or a proxy only."""

    name: Name
    email: Email | None = Field(description="null: it has none")
    password: Password | None = Field(description="null: nobody signs in with one")
    active: bool = True
    operator: bool = False


class RoleChanges(BaseModel):
    """What to change; what is left out, or null, stays as it is."""

    name: Name | None = None
    email: EmailOrNone | None = Field(None, description="empty: remove it")
    password: Password | None = None
    old_password: Password | None = Field(None, description="needed to change one's own password")
    active: bool | None = None
    operator: bool | None = None


class NewApiKey(BaseModel):
    """An API key to be made."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    expires_days: float | None = Field(
        None, gt=0, le=LONGEST_KEY_LIFE, description="days for which it is valid; null: for ever"
    )


class Visitor(NamedTuple):
    """From where somebody signs in.

    Attributes:
        address: of their machine.
        devices: tokens of the browser, by which it is known to have signed in before.
    """

    address: str
    devices: tuple[str, ...]


class InvalidNameError(InvalidError):
    """An account cannot have this name.

    Attributes:
        reason: why, without the name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"name is {name[:80]!r}: {reason}")
        self.reason = reason


class InvalidPasswordError(InvalidError):
    """An account cannot have this password."""


class WrongPasswordError(ForbiddenError):
    """The old password, which has to be given to change it, is another one."""


def require_sign_in(panel: State) -> None:
    """Refuse where a proxy signs people in.

    Raises:
        ForbiddenError: one does.
    """
    if panel.settings.auth != "password":
        raise ForbiddenError("the proxy in front of the panel signs people in, not the panel")


def require_passwords(panel: State) -> None:
    """Refuse where accounts have no passwords.

    Raises:
        ForbiddenError: they have none here.
    """
    if panel.settings.auth != "password":
        raise ForbiddenError("the proxy in front of the panel keeps passwords, not the panel")


async def sign_in(
    identification: Identification, visitor: Visitor, name: str, password: str
) -> Account | None:
    """The account of this name if the password is right; takes as long if there is none.

    Raises:
        TooManyAttemptsError: too many failed from here.
    """
    account = await identification.accounts.by_name(name)
    device = None
    if account is not None:
        device = known_device(identification, visitor, account)
    known_as = name if account is None else account.name
    attempt = await identification.attempts.begin(known_as, visitor.address, device)
    await wait(attempt)
    fits = await identification.passwords.fits(password, account.password if account else None)
    if account is None or not account.active or not fits:
        return None
    await identification.attempts.succeeded(attempt)
    return account


def known_device(identification: Identification, visitor: Visitor, account: Account) -> str | None:
    """Which browser this is, if the account was signed in there before."""
    for token in visitor.devices:
        if (device := identification.sessions.device(token, account.id)) is not None:
            return device
    return None


async def account_of(panel: State, user: User, name: str) -> Account:
    """The account of this name or id, if ``user`` may know of it.

    Raises:
        ForbiddenError: it is not theirs, and they are no operator.
        NotFoundError: there is none.
    """
    accounts = panel.identification.accounts
    try:
        account = await accounts.by_id(str(UUID(name)))
    except ValueError:
        account = await accounts.by_name(name)
    if not user.operator and (account is None or account.id != user.id):
        raise ForbiddenError("only operators see other accounts than their own")
    if account is None:
        raise NotFoundError(f"role {name[:80]} not found")
    return account


async def add_account(panel: State, new: NewRole, journal: Journal) -> Account:
    """Create an account.

    Raises:
        NameTakenError, InvalidNameError, InvalidPasswordError: as they say.
    """
    hashed = None if new.password is None else await _hashed(panel, new.password)
    try:
        account = await panel.identification.accounts.add(
            new.name,
            email=new.email,
            password=hashed,
            operator=new.operator,
            active=new.active,
        )
    except ValueError as exc:
        raise InvalidNameError(new.name, str(exc)) from exc
    whose = Target("account", account.id, account.name)
    journal.record(Action.ACCOUNT_CREATE, whose, operator=account.operator)
    return account


async def change_account(
    panel: State, user: User, id_: UUID, changes: RoleChanges, visitor: Visitor, journal: Journal
) -> Account:
    """Change an account; a new password, and disabling it, end its sessions.

    Arguments:
        user: who does; operators may change all accounts, others their own email and password.

    Raises:
        ForbiddenError, NotFoundError: ``user`` may not change this, or there is no such account.
        WrongPasswordError, TooManyAttemptsError: of one's own old password.
        NameTakenError, LastOperatorError, InvalidNameError, InvalidPasswordError: as they say.
    """
    fields = changes.model_dump(exclude_none=True)
    if "email" in fields:
        fields["email"] = fields["email"] or None
    account = await account_of(panel, user, str(id_))
    _record_changes(journal, account, fields)
    beyond = sorted(changes.model_fields_set & {"name", "active", "operator"})
    if beyond and not user.operator:
        raise ForbiddenError(f"only operators may change {', '.join(beyond)}")
    hashed = None
    if changes.password is not None:
        if account.id == user.id:
            await _require_old(panel, visitor, account, changes.old_password or "")
        hashed = await _hashed(panel, changes.password)
    try:
        return await panel.identification.accounts.change(
            account.id,
            name=changes.name,
            email=changes.email or None,
            clear_email=changes.email == "",
            password=hashed,
            operator=changes.operator,
            active=changes.active,
        )
    except ValueError as exc:
        raise InvalidNameError(changes.name or "", str(exc)) from exc


async def remove_account(panel: State, id_: UUID, journal: Journal) -> None:
    """Delete an account with its API keys.

    Raises:
        UnknownAccountError, LastOperatorError: as they say.
    """
    account = await panel.identification.accounts.remove(str(id_))
    journal.record(Action.ACCOUNT_DELETE, Target("account", account.id, account.name))


async def make_key(
    panel: State, user: User, new: NewApiKey, journal: Journal, *, by_key: bool
) -> NewKey:
    """Create an API key of somebody's own.

    Arguments:
        by_key: they sent an API key, which cannot make another: whoever finds one would have one
            of their own then.

    Raises:
        ForbiddenError: they did.
        InvalidError: the name has characters that cannot be seen.
    """
    if by_key:
        raise ForbiddenError("an API key cannot create others; sign in")
    if not new.name.isprintable():
        raise InvalidError(f"name is {new.name[:80]!r}: use visible characters")
    expires = None
    if new.expires_days is not None:
        expires = datetime.now(UTC) + timedelta(days=new.expires_days)
    key = await panel.identification.keys.make(user.id, new.name, expires)
    journal.record(Action.KEY_CREATE, Target("key", key.row.id, new.name))
    return key


def _record_changes(journal: Journal, account: Account, changes: Mapping[str, Any]) -> None:
    """Record what differs from an account as stored, one entry per kind of change.

    Arguments:
        changes: fields of the account and their values, of which only names are kept.
    """
    whose = Target("account", account.id, account.name)
    now = account.public()
    fields = [name for name in ("name", "email") if name in changes and changes[name] != now[name]]
    password = changes.get("password") is not None
    operator, active = changes.get("operator"), changes.get("active")
    if password:
        journal.record(Action.ACCOUNT_PASSWORD, whose)
    if operator is not None and operator != account.operator:
        journal.record(Action.ACCOUNT_OPERATOR, whose, operator=operator)
    if active is not None and active != account.active:
        journal.record(Action.ACCOUNT_ENABLE if active else Action.ACCOUNT_DISABLE, whose)
    if fields:
        journal.record(Action.ACCOUNT_CHANGE, whose, fields=fields)


async def _require_old(panel: State, visitor: Visitor, account: Account, password: str) -> None:
    """Whoever finds somebody's browser open must not be able to take the account over."""
    if await sign_in(panel.identification, visitor, account.name, password) is None:
        raise WrongPasswordError("old_password is wrong")


async def _hashed(panel: State, password: str) -> str:
    try:
        return await panel.identification.passwords.hash(checked_password(password))
    except WeakPasswordError as exc:
        raise InvalidPasswordError(f"password: {exc}") from exc
