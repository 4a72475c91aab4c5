"""``keys``: API keys of accounts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import cyclopts

from kodosumi_prefect.cli.audited import audited
from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.cli.tables import print_json, print_table
from kodosumi_prefect.panel.accounts.accounts import Account, Accounts
from kodosumi_prefect.panel.accounts.api_keys import ApiKeys
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.stream.reader import Reader

app = cyclopts.App(name="keys", help="List, make and revoke API keys.")

T = TypeVar("T")


@app.default
@of_stack
def list_(account: str = "admin", /, *, output: Output = "text") -> None:
    """List the API keys of an account, newest first.

    Parameters
    ----------
    account
        Its name.
    """
    rows = _do(account, lambda keys, owner, _: keys.of(owner.id))
    if output == "json":
        print_json([asdict(row) for row in rows])
    elif not rows:
        console.print(f"{account} has no API keys", markup=False)
    else:
        print_table(
            ["name", "begins", "made", "used", "expires", "id"],
            [
                [
                    row.name,
                    row.prefix,
                    _day(row.created_at),
                    _day(row.used_at),
                    _day(row.expires_at),
                    row.id,
                ]
                for row in rows
            ],
            whole=["begins", "made", "used", "expires", "id"],
        )


@app.command
@of_stack
def make(name: str, /, *, account: str = "admin", days: int | None = None) -> None:
    """Make an API key, for the header KODOSUMI_API_KEY; it is printed this once.

    Parameters
    ----------
    name
        What it is for.
    account
        Whose it is.
    days
        After how many days it expires; never, if not given.
    """
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)

    async def new(keys: ApiKeys, owner: Account, reader: Reader) -> str:
        key = await keys.make(owner.id, name, expires)
        await audited(reader, Action.KEY_CREATE, Target("api_key", key.row.id, name))
        return key.secret

    console.out(_do(account, new), highlight=False)


@app.command
@of_stack
def revoke(id: str, /, *, account: str = "admin") -> None:
    """Revoke an API key.

    Parameters
    ----------
    id
        Its id, as the list has it.
    account
        Whose it is.
    """

    async def end(keys: ApiKeys, owner: Account, reader: Reader) -> bool:
        revoked = await keys.revoke(id, owner.id)
        if revoked:
            await audited(reader, Action.KEY_REVOKE, Target("api_key", id))
        return revoked

    if not _do(account, end):
        raise CommandError(f"{account} has no API key {id}")
    console.print(f"{id}: revoked", markup=False)


def _do(account: str, work: Callable[[ApiKeys, Account, Reader], Awaitable[T]]) -> T:
    settings = get_settings()
    url = require_database(settings)

    async def main() -> T:
        async with Reader(url, settings.database_schema, 1) as reader:
            owner = await Accounts(reader).by_name(account)
            if owner is None:
                raise CommandError(
                    f"there is no account {account!r}; `kodosumi-prefect user list` shows them"
                )
            return await work(ApiKeys(reader), owner, reader)

    return asyncio.run(main())


def _day(moment: Any) -> str:
    return f"{moment.astimezone():%Y-%m-%d}" if moment else ""
