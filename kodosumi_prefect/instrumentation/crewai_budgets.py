"""CrewAI's calls of models are refused once a budget of the run is spent."""

from typing import Any

from crewai.hooks import register_before_llm_call_hook
from crewai.hooks.dispatch import HookAborted

from kodosumi_prefect import budgets
from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.instrumentation.of_run import scope_here
from kodosumi_prefect.instrumentation.sources import is_off


class RefusedCallError(HookAborted, BudgetExceededError):
    """What CrewAI lets through of what its hooks raise, and authors catch as ours."""


def switch_on() -> None:
    """Have CrewAI ask before each call of a model."""
    register_before_llm_call_hook(_ask)


def _ask(_: Any) -> None:
    scope = scope_here()
    if scope is None or is_off("crewai"):
        return
    try:
        budgets.check_here(scope.fid)
    except BudgetExceededError as spent:
        raise RefusedCallError(str(spent), "kodosumi_prefect") from spent
