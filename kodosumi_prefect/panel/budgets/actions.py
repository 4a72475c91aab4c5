"""Setting and removing budgets."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from kodosumi_prefect.database.rows.budgets import Budget
from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import InvalidError, NotFoundError

BY_OPERATOR = "operator"  # the source of what somebody set
MOST_TOKENS = 2**53

Per = Literal["run", "service", "owner", "all"]


def _stripped(value: Any) -> Any:
    """Of a form, nothing typed is no amount; digits may be grouped."""
    if not isinstance(value, str):
        return value
    return value.replace(",", "").replace("_", "").strip().removeprefix("$") or None


Dollars = Annotated[
    Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)] | None, BeforeValidator(_stripped)
]
Tokens = Annotated[Annotated[int, Field(ge=0, lt=MOST_TOKENS)] | None, BeforeValidator(_stripped)]
Name = Annotated[str, BeforeValidator(lambda text: clean(str(text)).strip()), Field(max_length=500)]


class NewBudget(BaseModel):
    """A budget as it is typed.

    Attributes:
        per: of each run, or of a day by a service, by an owner, by all together.
        name: of a flow (or a service's URL), or of an account; empty: each without one of its own.
        dollars, tokens: without both any amount may be spent.
        at_limit: whether a run whose budget is spent is stopped, or asks.
    """

    per: Per
    name: Name = ""
    dollars: Dollars = None
    tokens: Tokens = None
    at_limit: Literal["stop", "ask"] = "stop"


class NamelessError(InvalidError):
    """The budget of all runs together has no name."""


class UnknownOwnerError(InvalidError):
    """There is no such account."""


async def budgets(panel: State) -> list[Budget]:
    """All of them, with what was spent today."""
    return await panel.reader.rows_of(Budget, "budgets")


async def zone(panel: State) -> str:
    """The time zone in which days begin."""
    [name] = await panel.reader.values("budget_zone")
    return str(name)


async def set_budget(panel: State, new: NewBudget, journal: Journal) -> None:
    """Set a budget in place of the one that there is, of settings too; it holds at once.

    Raises:
        NamelessError, UnknownOwnerError: as they say.
    """
    if new.per == "all" and new.name:
        raise NamelessError("the budget of all runs together has no name; leave it empty")
    amounts: dict[str, Any] = {
        "dollars": new.dollars,
        "tokens": new.tokens,
        "at_limit": new.at_limit,
    }
    name = await _stored_name(panel, new)
    await panel.reader.execute("set_budget", per=new.per, name=name, source=BY_OPERATOR, **amounts)
    journal.record(Action.BUDGET_SET, Target("budget", new.per, new.name or None), **amounts)


async def remove_budget(panel: State, per: str, name: str, journal: Journal) -> None:
    """Remove a budget.

    Arguments:
        name: as it is stored: of an owner the account's id.

    Raises:
        NotFoundError: there is none.
    """
    if not await panel.reader.execute("remove_budget", per=per, name=clean(name)):
        raise NotFoundError("this budget was removed already")
    journal.record(Action.BUDGET_REMOVE, Target("budget", per, name or None))


async def _stored_name(panel: State, new: NewBudget) -> str:
    if new.per != "owner" or not new.name:
        return new.name
    account = await panel.identification.accounts.by_name(new.name)
    if account is None:
        raise UnknownOwnerError(f"there is no account {new.name}; Users lists them")
    return account.id
