"""Accounts in Postgres."""

import time
from typing import Any, NamedTuple

import psycopg

from kodosumi_prefect.panel.accounts.names import clean_name, new_name
from kodosumi_prefect.refusals import ConflictError, NotFoundError
from kodosumi_prefect.stream.reader import Reader

FRESH = 2.0  # seconds that an account may be remembered; so long a disabled one can go on
REMEMBERED = 10_000  # accounts


class Account(NamedTuple):
    """A row of ``role``.

    Attributes:
        password: argon2 hash; None if it cannot sign in with a password.
        epoch: sessions that were begun under an earlier one are void.
    """

    id: str
    name: str
    email: str | None
    active: bool
    operator: bool
    password: str | None
    epoch: int

    def public(self) -> dict[str, Any]:
        """What ``/role`` answers."""
        return {
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "active": self.active,
            "operator": self.operator,
        }


class UnknownAccountError(NotFoundError):
    """There is no such account."""


class NameTakenError(ConflictError):
    """Another account has this name, upper and lower case alike."""


class LastOperatorError(ConflictError):
    """Nobody would be left to manage accounts."""


class Accounts:
    """The table ``role``; every method raises ``psycopg.OperationalError`` if Postgres is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[str, tuple[float, Account | None]] = {}

    async def recent(self, role_id: str) -> Account | None:
        """An account as it is, or was at most ``FRESH`` seconds ago."""
        now = time.monotonic()
        remembered = self._known.get(role_id)
        if remembered is not None and now - remembered[0] < FRESH:
            return remembered[1]
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        account = await self.by_id(role_id)
        self._known[role_id] = (now, account)
        return account

    async def by_id(self, role_id: str) -> Account | None:
        """The account with this id."""
        return _one(await self._reader.rows_of(Account, "role_by_id", id=role_id))

    async def by_name(self, name: str) -> Account | None:
        """The account with this name, upper and lower case alike."""
        try:
            name = clean_name(name)
        except ValueError:
            return None
        return _one(await self._reader.rows_of(Account, "role_by_name", name=name))

    async def all(self) -> list[Account]:
        """All accounts by name."""
        return await self._reader.rows_of(Account, "roles")

    async def add(
        self,
        name: str,
        *,
        email: str | None = None,
        password: str | None = None,
        operator: bool = False,
        active: bool = True,
    ) -> Account:
        """Create an account.

        Arguments:
            password: its hash.

        Raises:
            ValueError: the name does not fit.
            NameTakenError: another account has it.
        """
        rows = await self._reader.rows_of(
            Account,
            "add_role",
            name=new_name(name),
            email=email,
            password=password,
            operator=operator,
            active=active,
        )
        if (account := _one(rows)) is None:
            raise NameTakenError(f"the name {name!r} is taken")
        return account

    async def add_first_operator(self, name: str, password: str) -> Account | None:
        """Create an operator if there is none; of several panels one gets it, the others None."""
        return _one(
            await self._reader.rows_of(
                Account, "add_first_operator", name=new_name(name), password=password
            )
        )

    async def has_operator(self) -> bool:
        """Whether anybody can manage accounts."""
        [operators] = await self._reader.values("count_operators")
        return bool(operators)

    async def change(
        self,
        role_id: str,
        *,
        name: str | None = None,
        email: str | None = None,
        clear_email: bool = False,
        password: str | None = None,
        operator: bool | None = None,
        active: bool | None = None,
    ) -> Account:
        """Change what is not None. A new password or disabling ends the account's sessions.

        Raises:
            ValueError: the name does not fit.
            UnknownAccountError, NameTakenError, LastOperatorError: as they say.
        """
        try:
            changed = await self._reader.rows_of(
                Account,
                "change_role",
                id=role_id,
                name=None if name is None else new_name(name),
                email=email,
                clear_email=clear_email,
                password=password,
                operator=operator,
                active=active,
            )
        except psycopg.errors.UniqueViolation as exc:
            raise NameTakenError(f"the name {name!r} is taken") from exc
        return await self._outcome(changed, role_id)

    async def remove(self, role_id: str) -> Account:
        """Delete an account with its API keys; its executions stay, and belong to nobody.

        Raises:
            UnknownAccountError, LastOperatorError: as they say.
        """
        return await self._outcome(
            await self._reader.rows_of(Account, "remove_role", id=role_id), role_id
        )

    async def end_sessions(self, role_id: str) -> None:
        """Have everybody who is signed in to this account sign in again."""
        await self._reader.execute("end_sessions", id=role_id)
        self._known.pop(role_id, None)

    async def _outcome(self, rows: list[Account], role_id: str) -> Account:
        self._known.pop(role_id, None)
        if (account := _one(rows)) is not None:
            return account
        if await self.by_id(role_id) is None:
            raise UnknownAccountError(f"role {role_id} not found")
        raise LastOperatorError(
            "this is the last active operator; make another account an operator first"
        )


def _one(rows: list[Account]) -> Account | None:
    return rows[0] if rows else None
