"""Rows about budgets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """A row of ``budgets``.

    Attributes:
        per: ``run``, or of a day ``service``, ``owner``, ``all``.
        name: of a flow, a service's URL, the id of an owner; empty: each without one of its own.
        dollars, tokens: None: any amount.
        at_limit: ``stop`` or ``ask``.
        source: ``settings``, or who set it.
        owner: the owner's name.
        spent_dollars, spent_tokens: today; None where it is about many.
    """

    per: str
    name: str
    dollars: float | None
    tokens: int | None
    at_limit: str
    source: str
    owner: str | None
    spent_dollars: float | None
    spent_tokens: int | None


@dataclass(frozen=True, slots=True)
class BudgetMark:
    """A row of ``budget_marks``: a budget of an execution that is nearly or wholly spent.

    Attributes:
        day: in ISO 8601; ``-infinity`` for one of the whole run.
        granted: of ``allowed``, what somebody allowed this run beyond the budget.
        calls_open: calls that were under way when it was spent.
        lid: the lock by which it is asked for.
        over_for: seconds since it was spent, or since it was refused to go on.
    """

    execution_id: int
    fid: str
    attempt: int
    per: str
    unit: str
    day: str
    spent: float
    allowed: float
    granted: float
    at_limit: str
    calls_open: int | None
    near_told: bool
    over: bool
    over_told: bool
    lid: str | None
    lock_state: str | None
    result: str | None
    refused: bool
    over_for: float | None


@dataclass(frozen=True, slots=True)
class SpentBudget:
    """A row of ``budgets_of``; ``stopped``: the run was, or somebody refused that it goes on."""

    per: str
    unit: str
    spent: float
    allowed: float
    calls_open: int | None
    over: bool
    stopped: bool
