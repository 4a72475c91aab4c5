"""``user``: the accounts of the panel."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import cyclopts
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from kodosumi_prefect.cli.audited import audited, audited_at
from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console, errors, require_database
from kodosumi_prefect.cli.tables import print_json
from kodosumi_prefect.database import migrate
from kodosumi_prefect.files.owned import PORTION, Owned, new_folder
from kodosumi_prefect.files.storage import StorageError, storage_of
from kodosumi_prefect.panel.accounts.accounts import (
    Account,
    Accounts,
    LastOperatorError,
    NameTakenError,
    UnknownAccountError,
)
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.stream.reader import Reader

app = cyclopts.App(name="user", help="Create, list and change the panel's accounts.")

T = TypeVar("T")


@app.command
@of_stack
def add(name: str, *, email: str | None = None, operator: bool = False) -> None:
    """Create an account. Its password is asked for, or read from stdin.

    Parameters
    ----------
    name
        What it signs in with.
    email
        Its mail address.
    operator
        May see and do everything.
    """
    hashed = None if get_settings().auth == "proxy" else _new_password()

    async def make(accounts: Accounts) -> Account:
        return await accounts.add(name, email=email, password=hashed, operator=operator)

    account = _do(make, Action.ACCOUNT_CREATE, operator=operator)
    console.print(f"created {account.name}" + (", an operator" if operator else ""), markup=False)


@app.command(name="list")
@of_stack
def list_(*, output: Output = "text") -> None:
    """List all accounts."""
    accounts = _do(lambda accounts: accounts.all())
    if output == "json":
        print_json([account._asdict() for account in accounts])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "email", "operator", "active", "id"):
        table.add_column(column, no_wrap=column == "id")
    for account in accounts:
        table.add_row(
            account.name,
            account.email or "",
            "yes" if account.operator else "",
            "yes" if account.active else "no",
            account.id,
            style=None if account.active else "dim",
        )
    console.print(table)


@app.command
@of_stack
def passwd(name: str) -> None:
    """Set an account's password, which is asked for or read from stdin; ends its sessions.

    Parameters
    ----------
    name
        The account.
    """
    hashed = _new_password()
    _change(name, Action.ACCOUNT_PASSWORD, password=hashed)
    console.print(f"{name} has a new password, and has to sign in again", markup=False)


@app.command
@of_stack
def disable(name: str) -> None:
    """Disable an account: its sessions and API keys end, its executions stay.

    Parameters
    ----------
    name
        The account.
    """
    _change(name, Action.ACCOUNT_DISABLE, active=False)
    console.print(f"{name} is disabled", markup=False)


@app.command
@of_stack
def enable(name: str) -> None:
    """Enable a disabled account.

    Parameters
    ----------
    name
        The account.
    """
    _change(name, Action.ACCOUNT_ENABLE, active=True)
    console.print(f"{name} is enabled", markup=False)


@app.command
@of_stack
def operator(name: str, *, off: bool = False) -> None:
    """Make an account an operator, who may see and do everything.

    Parameters
    ----------
    name
        The account.
    off
        Remove that right instead.
    """
    _change(name, Action.ACCOUNT_OPERATOR, operator=not off)
    console.print(f"{name} is {'no operator' if off else 'an operator'}", markup=False)


@app.command
@of_stack
def export(name: str, folder: Path) -> None:
    """Write all executions of an account into a folder: records, events, files.

    Parameters
    ----------
    name
        The account, or the id of one that is deleted.
    folder
        Is made; nothing may be in it.
    """
    try:
        target = new_folder(folder)
        with _owned(name) as (owned, account):
            found = size = 0
            with counted("exporting executions") as told:
                for execution in owned.executions():
                    size += owned.export(execution, target)
                    found += 1
                    told(found)
    except (OSError, StorageError) as exc:
        raise CommandError(f"the export is not whole: {exc}") from exc
    asyncio.run(
        audited_at(get_settings(), Action.OWNER_EXPORT, account, executions=found, bytes=size)
    )
    console.print(
        f"wrote {found:,} executions of {name}, with {size / 1_000_000:,.1f} MB of files, "
        f"to {target}",
        markup=False,
    )


@app.command
@of_stack
def erase(name: str, *, yes: bool = False) -> None:
    """Delete all executions of an account, with events, prompts, answers, files and uploads.

    In questions that others' runs asked it, it is not named any more; what it answered there
    stays. So does the account, and so do entries of the audit, until audit_retention_days, and what
    Prefect keeps of its runs.

    Parameters
    ----------
    name
        The account, or the id of one that is deleted.
    yes
        Do not ask.
    """
    with _owned(name) as (owned, account):
        every = list(owned.executions())
        if alive := [execution for execution in every if not execution.over]:
            raise CommandError(
                f"{len(alive):,} executions of {name} are not over, such as {alive[0].fid}; "
                "cancel them first"
            )
        question = f"Delete {len(every):,} executions of {name} for ever? [y/N] "
        if not yes and not _agreed(question):
            raise CommandError("nothing is deleted")
        deleted = 0
        try:
            with counted("deleting executions", len(every)) as told:
                for start in range(0, len(every), PORTION):
                    deleted += owned.erase(every[start : start + PORTION])
                    told(deleted)
            owned.erase_rest()
            asked = owned.erase_from_questions()
            left = len(list(owned.executions()))
        except StorageError as exc:
            raise CommandError(f"not all is deleted, run it again: {exc}") from exc
    asyncio.run(audited_at(get_settings(), Action.OWNER_ERASE, account, executions=deleted))
    console.print(f"deleted {deleted:,} executions of {name}", markup=False)
    if asked:
        raise CommandError(
            f"{asked:,} questions of others that name {name} are open; run it again once they are "
            "over"
        )
    if left:
        raise CommandError(
            f"{left:,} executions of {name} are left, as something wrote to them; run it again"
        )


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to ask
        return False


@contextmanager
def _owned(name: str) -> Generator[tuple[Owned, Target], None, None]:
    """What an account has; also one that is deleted, by its id."""
    settings = get_settings()
    account = _do(lambda accounts: accounts.by_name(name))
    if account is None and not _is_id(name):
        raise CommandError(
            f"there is no account {name!r}; `kodosumi-prefect user list` shows them, and of "
            "deleted ones an execution's record has the id"
        )
    id_ = account.id if account is not None else name
    url = require_database(settings)
    with Owned(url, settings.database_schema, storage_of(settings), id_) as owned:
        yield owned, Target("account", id_, account.name if account is not None else None)


@contextmanager
def counted(words: str, total: int | None = None) -> Generator[Callable[[int], None], None]:
    """How many are done, on stderr, if that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=errors, transient=True, disable=not errors.is_terminal
    ) as shown:
        task = shown.add_task(words, total=total)
        yield lambda done: shown.update(task, completed=done)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _change(
    name: str,
    action: Action,
    *,
    password: str | None = None,
    active: bool | None = None,
    operator: bool | None = None,
) -> None:
    async def change(accounts: Accounts) -> Account:
        account = await accounts.by_name(name)
        if account is None:
            raise UnknownAccountError(
                f"there is no account {name!r}; `kodosumi-prefect user list` shows them"
            )
        return await accounts.change(
            account.id, password=password, active=active, operator=operator
        )

    _do(change, action, **({} if operator is None else {"operator": operator}))


def _do(
    work: Callable[[Accounts], Awaitable[T]], action: Action | None = None, **details: Any
) -> T:
    """What ``work`` returns; recorded if it is an ``action`` done to an account."""
    settings = get_settings()
    url = require_database(settings)

    async def main() -> T:
        async with Reader(url, settings.database_schema, 1) as reader:
            done = await work(Accounts(reader))
            if action is not None and isinstance(done, Account):
                await audited(reader, action, Target("account", done.id, done.name), **details)
            return done

    try:
        migrate.require(url, settings.database_schema)
        return asyncio.run(main())
    except (
        NameTakenError,
        UnknownAccountError,
        LastOperatorError,
        migrate.SchemaTooOldError,
    ) as exc:
        raise CommandError(str(exc)) from exc


def _new_password() -> str:
    """The hash of a password that is typed twice, or comes in one line."""
    try:
        from kodosumi_prefect.panel.accounts.passwords import checked_password, hash_password
    except ModuleNotFoundError as exc:
        raise CommandError(f"{exc.name} is missing; install kodosumi-prefect[panel]") from exc
    if sys.stdin.isatty():
        password = getpass("password: ")
        if getpass("once more: ") != password:
            raise CommandError("the two passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    return hash_password(checked_password(password))
