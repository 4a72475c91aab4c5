"""Budgets, for operators: what may be spent, what was spent today, and a form for another one."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from pydantic import ValidationError

from kodosumi_prefect.panel.accounts.permissions import Operator
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.budgets import actions
from kodosumi_prefect.panel.budgets.actions import NewBudget
from kodosumi_prefect.panel.html.parts import complaints, part_or_page, sentence
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import InvalidError, NotFoundError

WORDS = {
    "name": "A name has at most 500 characters.",
    "dollars": "An amount is a number from 0 on, such as 2.50.",
    "tokens": "A number of tokens is a whole number from 0 on.",
}

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form()]


@router.get("/budgets")
async def whole(
    request: Request, panel: Panel, _: Operator, per: str = "", name: str = ""
) -> Response:
    """All budgets, and a form; with ``per`` and ``name`` (as stored) it holds that one."""
    rows = await actions.budgets(panel)
    chosen = next((row for row in rows if (row.per, row.name) == (per, name)), None)
    typed: dict[str, Any] = {}
    if chosen is not None:
        typed = {
            "per": chosen.per,
            "name": chosen.owner or chosen.name,
            "dollars": "" if chosen.dollars is None else f"{chosen.dollars:g}",
            "tokens": "" if chosen.tokens is None else str(chosen.tokens),
            "at_limit": chosen.at_limit,
        }
    return await _answer(request, panel, typed=typed)


@router.post("/budgets")
async def set_one(
    request: Request,
    panel: Panel,
    _: Operator,
    per: Text = "",
    name: Text = "",
    dollars: Text = "",
    tokens: Text = "",
    at_limit: Text = "stop",
) -> Response:
    """Set a budget, in place of the one that there is."""
    typed = {"per": per, "name": name, "dollars": dollars, "tokens": tokens, "at_limit": at_limit}
    try:
        await actions.set_budget(panel, NewBudget.model_validate(typed), journal(request))
    except ValidationError as exc:
        return await _answer(request, panel, complaints(exc, WORDS), typed=typed)
    except InvalidError as exc:
        return await _answer(request, panel, {"name": sentence(exc.detail)}, typed=typed)
    return await _answer(request, panel, notice="The budget is set. It holds at once.")


@router.post("/budgets/remove")
async def remove(
    request: Request, panel: Panel, _: Operator, per: Text = "", name: Text = ""
) -> Response:
    """Remove a budget."""
    try:
        await actions.remove_budget(panel, per, name, journal(request))
    except NotFoundError as exc:
        return await _answer(request, panel, {"": sentence(exc.detail)})
    return await _answer(request, panel, notice="The budget is removed.")


async def _answer(
    request: Request,
    panel: State,
    wrong: dict[str, str] | None = None,
    *,
    typed: dict[str, Any] | None = None,
    notice: str = "",
) -> Response:
    context = {
        "budgets": await actions.budgets(panel),
        "wrong": wrong or {},
        "typed": typed or {},
        "notice": notice,
        "zone": await actions.zone(panel),
    }
    return part_or_page(request, "budgets.html", "_budgets_part.html", context, wrong=bool(wrong))
