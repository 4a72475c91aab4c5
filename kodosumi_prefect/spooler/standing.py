"""How executions stand against their budgets."""

from typing import Literal, NamedTuple

from kodosumi_prefect.spans.amounts import dollars

State = Literal["free", "within", "near", "asking", "spent"]


class Standing(NamedTuple):
    """How an execution stands against the most pressing of its budgets.

    Attributes:
        state: ``free``: there are no budgets at all; ``within``: less than four fifths are spent;
            ``near``: less than all; ``asking``: all, and somebody is asked whether it may go on;
            ``spent``: all.
        per: ``run``, or of a day ``service``, ``owner``, ``all``; None if none is near its end.
        unit: ``dollars``, ``tokens``, or ``unpriced``: tokens of models of unknown price.
        spent: of that unit.
        allowed: likewise.
    """

    state: State
    per: str | None = None
    unit: str | None = None
    spent: float | None = None
    allowed: float | None = None


FREE = Standing("free")
_WHOSE = {
    "run": "this run",
    "service": "all runs of this service today",
    "owner": "all runs of their owner today",
    "all": "all runs of today",
}


def in_words(per: str, unit: str, spent: float, allowed: float) -> str:
    """What was spent of a budget, such as ``$1.05 of $1.00 for this run``."""
    whose = _WHOSE[per]
    if unit == "dollars":
        return f"{dollars(spent)} of {dollars(allowed)} for {whose}"
    if unit == "tokens":
        return f"{spent:,.0f} of {allowed:,.0f} tokens for {whose}"
    return f"{spent:,.0f} of {allowed:,.0f} tokens of models whose price is not known, for {whose}"
