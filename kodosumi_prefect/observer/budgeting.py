"""Budgets: what is told of them in runs, and what is done when they are spent.

Whoever stores a span marks in Postgres what is nearly or wholly spent; this follows the marks.
"""

import asyncio
import json
import logging
import time
from typing import Any
from uuid import UUID, uuid4

from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from kodosumi_prefect.database.rows.budgets import BudgetMark
from kodosumi_prefect.events import Event, Kind, serialize
from kodosumi_prefect.forms import InputNumber, Markdown, Model, Submit
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.spooler.standing import in_words
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import budget_key

EVERY = 0.5  # seconds
GRACE = 10.0  # seconds that a run has to end by itself, by the error that its next call raises
WEIGH_EVERY = 5.0  # seconds between looks whether a price is still not known
ANSWER_SECONDS = 24 * 3600.0  # seconds to answer whether a run may go on
STORED_WITHIN = 5.0  # seconds
PORTION = 200  # marks, or executions, at once

logger = logging.getLogger(__name__)


class Budgeting:
    """Keeps the budgets of the settings in Postgres, and follows what is marked as spent.

    Arguments:
        client: records what is told.
    """

    def __init__(self, settings: Settings, reader: Reader, api: Api, client: SpoolClient) -> None:
        self._settings = settings
        self._reader = reader
        self._api = api
        self._client = client
        self._set = False
        self._weigh_at = 0.0

    async def look(self) -> None:
        """Tell and do what is due."""
        if not self._set:
            await self.set_budgets()
            self._set = True
        if time.monotonic() >= self._weigh_at:
            await self._reader.execute("weigh_unpriced", limit=PORTION)
            self._weigh_at = time.monotonic() + WEIGH_EVERY
        for mark in await self._reader.rows_of(BudgetMark, "budget_marks", limit=PORTION):
            await self._follow(mark)

    async def set_budgets(self) -> None:
        """Have Postgres know the budgets that are set here."""
        settings = self._settings
        pers = []
        for per, name in (
            ("run", "run"),
            ("service", "service_day"),
            ("owner", "owner_day"),
            ("all", "day"),
        ):
            dollars = getattr(settings, f"budget_{name}_dollars")
            tokens = getattr(settings, f"budget_{name}_tokens")
            if dollars is None and tokens is None:
                continue
            pers.append(per)
            await self._reader.execute(
                "set_budget",
                per=per,
                name="",
                dollars=dollars,
                tokens=tokens,
                at_limit=settings.budget_at_limit,
                source="settings",
            )
        await self._reader.execute("keep_budgets_of_settings", pers=pers)
        await self._reader.execute(
            "set_budget_rules",
            zone=settings.budget_zone,
            unpriced=settings.budget_unpriced,
            unpriced_tokens=settings.budget_unpriced_tokens,
        )

    async def _follow(self, mark: BudgetMark) -> None:
        if not mark.near_told and not mark.over:
            await self._tell(mark, Kind.STDERR, f"Budget nearly spent: {_amount(mark)}", "near")
            await self._note(mark, near=True)
        if not mark.over:
            return
        if mark.at_limit == "ask" and not mark.refused:
            await self._ask(mark)
            return
        if not mark.over_told:
            await self._tell(mark, Kind.STDERR, f"Budget spent: {_amount(mark)}", "over")
            await self._note(mark, near=True, over=True)
        if mark.over_for is not None and mark.over_for >= GRACE:
            await self._stop(mark)

    async def _ask(self, mark: BudgetMark) -> None:
        if mark.lid is None:
            lid = str(uuid4())
            await self._tell(mark, Kind.LOCK, _question(mark, lid), lid)
            await self._note(mark, near=True, over=True, lid=lid)
        elif mark.lock_state == "leased":
            more = _allowed_more(mark)
            if more > 0:
                await self._note(mark, granted=more)
            else:
                await self._note(mark, refused=True)
        elif mark.lock_state == "open":
            return
        elif mark.lock_state is not None:  # expired, or void: the run began again
            void = mark.lock_state == "void"
            await self._note(mark, granted=0.0 if void else None, refused=not void)

    async def _stop(self, mark: BudgetMark) -> None:
        """Cancel it as people do; it may have ended by itself."""
        why = f"The budget is spent: {_amount(mark)}"
        client = await self._api.client()
        try:
            await client.set_flow_run_state(UUID(mark.fid), Cancelling(message=why))
        except ObjectNotFound:
            logger.info("the run %s, whose budget is spent, is not in Prefect any more", mark.fid)
        else:
            logger.info("cancelled %s: %s", mark.fid, why)
            await self._tell(mark, Kind.ERROR, why, "stopped")
        await self._note(mark, stopped=True)

    async def _tell(self, mark: BudgetMark, kind: Kind, payload: str, what: str) -> None:
        key = budget_key(mark.per, mark.unit, mark.day, f"{what}:{mark.granted:g}")
        note = payload if kind is Kind.ERROR else None
        event = Event(time.time(), kind, payload, mark.attempt, dedupe=key, note=note)
        self._client.emit(mark.fid, event)
        if not await asyncio.to_thread(self._client.flush, STORED_WITHIN):
            raise OSError("what is told of a budget is not stored yet")

    async def _note(self, mark: BudgetMark, **done: Any) -> None:
        nothing = {"near": False, "over": False, "lid": None, "refused": False}
        nothing |= {"stopped": False, "granted": None}
        await self._reader.execute(
            "told_of_budget",
            id=mark.execution_id,
            per=mark.per,
            unit=mark.unit,
            day=mark.day,
            **(nothing | done),
        )


def _amount(mark: BudgetMark) -> str:
    text = in_words(mark.per, mark.unit, mark.spent, mark.allowed)
    if mark.over and mark.calls_open:
        calls = "1 call was" if mark.calls_open == 1 else f"{mark.calls_open} calls were"
        text += f"; {calls} under way when it was spent, and may add to it"
    return text


def _question(mark: BudgetMark, lid: str) -> str:
    unit = "US dollars" if mark.unit == "dollars" else "tokens"
    more = mark.allowed - mark.granted
    form = Model(
        Markdown(f"The run waits before its next call of a model: {_amount(mark)}."),
        InputNumber(
            name="more",
            label=f"Allow it this much more, in {unit}; 0 stops the run",
            value=more if mark.unit == "dollars" else round(more),
            min_value=0,
            required=True,
        ),
        Submit("Answer"),
    )
    return serialize(
        {
            "name": "budget",
            "lid": lid,
            "data": {"spent": mark.spent, "allowed": mark.allowed, "unit": mark.unit},
            "expires": time.time() + ANSWER_SECONDS,
            "title": "The budget is spent",
            "elements": form.get_model(),
        }
    )


def _allowed_more(mark: BudgetMark) -> float:
    """What was answered; nothing if it is no number."""
    try:
        return max(float(json.loads(mark.result or "")["more"]), 0.0)
    except (ValueError, TypeError, KeyError):
        return 0.0
