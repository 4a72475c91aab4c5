"""``budgets``: what runs, services, owners and all together may spend."""

import asyncio
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from kodosumi_prefect.cli.audited import audited
from kodosumi_prefect.cli.options import Output, of_stack
from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.cli.tables import print_json, print_table
from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.rows.budgets import Budget
from kodosumi_prefect.panel.accounts.accounts import Accounts
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spans.amounts import dollars as in_dollars
from kodosumi_prefect.stream.reader import Reader

app = cyclopts.App(name="budgets", help="What runs, services, owners and all may spend on models.")

Per = Literal["run", "service", "owner", "all"]
Amount = Annotated[float, Parameter(validator=cyclopts.validators.Number(gte=0))]
Count = Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=0))]
EACH = "each"


@app.command(name="list")
@of_stack
def list_(*, output: Output = "text") -> None:
    """List all budgets, with what was spent today."""
    rows = asyncio.run(_all())
    if output == "json":
        print_json([{name: getattr(row, name) for name in Budget.__slots__} for row in rows])
        return
    if not rows:
        console.print("no budgets", markup=False)
        return
    print_table(
        ["per", "name", "may spend", "spent today", "at the limit", "set by"],
        [
            [
                row.per if row.per == "run" else f"{row.per} and day",
                row.owner or row.name or ("" if row.per == "all" else EACH),
                _amounts(row.dollars, row.tokens, "any amount"),
                _amounts(row.spent_dollars, row.spent_tokens, ""),
                row.at_limit,
                row.source,
            ]
            for row in rows
        ],
    )


@app.command(name="set")
@of_stack
def set_(
    per: Per,
    name: str = "",
    *,
    dollars: Amount | None = None,
    tokens: Count | None = None,
    ask: bool = False,
) -> None:
    """Set a budget, in place of the one that settings give. Without an amount any may be spent.

    Parameters
    ----------
    per
        run: each run in all; service, owner, all: their runs together on a day.
    name
        Of a flow (or a service's URL), or of an owner. Without it, each that has no budget by name.
    dollars
        US dollars.
    tokens
        Tokens, input and output together.
    ask
        A run whose budget is spent asks whether it may go on; otherwise it is stopped.
    """
    if per == "all" and name:
        raise CommandError("the budget of all runs together has no name")
    asyncio.run(_set(per, name, dollars, tokens, "ask" if ask else "stop"))
    console.print(f"{_subject(per, name)}: {_amounts(dollars, tokens, 'any amount')}", markup=False)


@app.command
@of_stack
def remove(per: Per, name: str = "") -> None:
    """Remove a budget; one that settings give comes back when the observer starts.

    Parameters
    ----------
    per
        As for `budgets set`.
    name
        Likewise.
    """
    if not asyncio.run(_remove(per, name)):
        raise CommandError(
            f"there is no budget: {_subject(per, name)}; `kodosumi-prefect budgets list` shows all"
        )
    console.print(f"{_subject(per, name)}: no budget any more", markup=False)


async def _all() -> list[Budget]:
    async with _reader() as reader:
        return await reader.rows_of(Budget, "budgets")


async def _set(
    per: Per, name: str, dollars: float | None, tokens: int | None, at_limit: str
) -> None:
    async with _reader() as reader:
        await reader.execute(
            "set_budget",
            per=per,
            name=await _known(reader, per, name),
            dollars=dollars,
            tokens=tokens,
            at_limit=at_limit,
            source="operator",
        )
        amount = {"dollars": dollars, "tokens": tokens, "at_limit": at_limit}
        await audited(reader, Action.BUDGET_SET, Target("budget", per, name or None), **amount)


async def _remove(per: Per, name: str) -> bool:
    async with _reader() as reader:
        known = await _known(reader, per, name)
        removed = await reader.execute("remove_budget", per=per, name=known)
        if removed:
            await audited(reader, Action.BUDGET_REMOVE, Target("budget", per, name or None))
        return bool(removed)


async def _known(reader: Reader, per: Per, name: str) -> str:
    """The name as executions have it: of an owner the account's id."""
    if per != "owner" or not name:
        return name
    account = await Accounts(reader).by_name(name)
    if account is None:
        raise CommandError(f"there is no account {name!r}; `kodosumi-prefect user list` shows them")
    return account.id


def _reader() -> Reader:
    settings = get_settings()
    url = require_database(settings)
    try:
        migrate.require(url, settings.database_schema)
    except migrate.SchemaTooOldError as exc:
        raise CommandError(str(exc)) from exc
    return Reader(url, settings.database_schema, 1)


def _subject(per: Per, name: str) -> str:
    if per == "all":
        return "all runs of a day"
    return f"{per} {name or EACH}" + ("" if per == "run" else ", a day")


def _amounts(dollars: float | None, tokens: int | None, neither: str) -> str:
    parts = [] if dollars is None else [in_dollars(dollars)]
    parts += [] if tokens is None else [f"{tokens:,} tokens"]
    return ", ".join(parts) or neither
