"""Teams in Postgres."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from kodosumi_prefect.database.rows.locks import AccountName
from kodosumi_prefect.panel.accounts.names import clean_name
from kodosumi_prefect.panel.teams.members import Members, moving
from kodosumi_prefect.refusals import ConflictError, InvalidError, NotFoundError
from kodosumi_prefect.stream.reader import Reader

LONGEST = 100  # characters of a name
MOST = 1000  # accounts of one team


@dataclass(frozen=True, slots=True)
class Team:
    """A row of ``teams``; members by name."""

    id: str
    name: str
    members: list[str]


class Teams:
    """Reads and changes teams; raises ``psycopg.OperationalError`` if Postgres is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def all(self) -> list[Team]:
        """All teams, by name."""
        return await self._reader.rows_of(Team, "teams", name=None)

    async def named(self, name: str) -> Team:
        """One team, upper and lower case alike.

        Raises:
            NotFoundError: there is none of this name.
        """
        found = await self._reader.rows_of(Team, "teams", name=_spelled(name))
        if not found:
            raise _unknown(name)
        return found[0]

    async def add(self, name: str, members: Sequence[str]) -> Team:
        """Create a team.

        Raises:
            InvalidError: it cannot have this name, or one of these is no account.
            ConflictError: the name is taken.
        """
        name = team_name(name)
        async with self._reader.transaction() as connection:
            accounts = await self._accounts(connection, members)
            cursor = await connection.execute(self._reader.queries["add_team"], {"name": name})
            row = await cursor.fetchone()
            if row is None:
                raise ConflictError(f"there is a team {name!r} already")
            joined = Members(name, {account.id for account in accounts})
            async with moving(connection, self._reader.queries, joined=joined):
                await self._set(connection, str(row[0]), accounts)
        return await self.named(name)

    async def change(
        self, name: str, *, new_name: str | None = None, members: Sequence[str] | None = None
    ) -> Team:
        """Give a team another name or other members; None leaves them.

        Raises:
            NotFoundError: there is no such team.
            InvalidError, ConflictError: as ``add``.
        """
        new_name = None if new_name is None else team_name(new_name)
        queries = self._reader.queries
        async with self._reader.transaction() as connection:
            id_, old = await self._lock(connection, name)
            accounts = None if members is None else await self._accounts(connection, members)
            before = await self._members(connection, id_)
            after = before if accounts is None else {account.id for account in accounts}
            if new_name is None or new_name.lower() == old.lower():
                joined, left = Members(old, after - before), Members(old, before - after)
            else:
                joined, left = Members(new_name, after), Members(old, before)
            async with moving(connection, queries, joined=joined, left=left):
                if accounts is not None:
                    await self._set(connection, id_, accounts)
                if new_name is not None:
                    try:
                        await connection.execute(
                            queries["rename_team"], {"team": id_, "new": new_name}
                        )
                    except psycopg.errors.UniqueViolation:
                        raise ConflictError(f"there is a team {new_name!r} already") from None
        return await self.named(new_name or name)

    async def remove(self, name: str) -> None:
        """Delete a team; what is asked of it goes to the owners of the runs.

        Raises:
            NotFoundError: there is none.
        """
        queries = self._reader.queries
        async with self._reader.transaction() as connection:
            id_, spelled = await self._lock(connection, name)
            left = Members(spelled, await self._members(connection, id_))
            async with moving(connection, queries, left=left):
                await connection.execute(queries["remove_team"], {"team": id_})

    async def _lock(
        self, connection: psycopg.AsyncConnection[tuple[object, ...]], name: str
    ) -> tuple[str, str]:
        """The id and the name of a team, which nobody else changes until the transaction's end."""
        cursor = await connection.execute(
            self._reader.queries["lock_team"], {"name": _spelled(name)}
        )
        row = await cursor.fetchone()
        if row is None:
            raise _unknown(name)
        return str(row[0]), str(row[1])

    async def _members(
        self, connection: psycopg.AsyncConnection[tuple[object, ...]], team: str
    ) -> set[str]:
        cursor = await connection.execute(self._reader.queries["team_members"], {"team": team})
        return {str(row[0]) for row in await cursor.fetchall()}

    async def _accounts(
        self, connection: psycopg.AsyncConnection[tuple[object, ...]], members: Sequence[str]
    ) -> list[AccountName]:
        if len(members) > MOST:
            raise InvalidError(f"members names {len(members)} accounts; a team has at most {MOST}")
        wanted = {_spelled(name).lower(): name for name in members}
        async with connection.cursor(row_factory=class_row(AccountName)) as cursor:
            query = self._reader.queries["known_accounts"]
            await cursor.execute(query, {"names": list(wanted)})
            accounts = await cursor.fetchall()
        known = {account.name.lower() for account in accounts}
        for spelled, name in wanted.items():
            if spelled not in known:
                raise InvalidError(f"there is no account {name[:80]!r}")
        return accounts

    async def _set(
        self,
        connection: psycopg.AsyncConnection[tuple[object, ...]],
        team: str,
        accounts: Sequence[AccountName],
    ) -> None:
        values = {"team": team, "accounts": [account.id for account in accounts]}
        await connection.execute(self._reader.queries["set_team"], values)


def team_name(text: str) -> str:
    """A name as it is stored.

    Raises:
        InvalidError: no team can have it.
    """
    try:
        name = clean_name(text)
    except ValueError as exc:
        raise InvalidError(f"name is {text[:80]!r}: {exc}") from None
    if len(name) > LONGEST or ":" in name or not name.strip("."):  # part of addresses
        raise InvalidError(
            f"name is {text[:80]!r}: it has 1 to {LONGEST} characters, not dots only, and no colon"
        )
    return name


def _spelled(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip()


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no team {name[:80]!r}")
