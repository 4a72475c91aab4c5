"""Budgets that are spent, or of which somebody is asked, without a database that knows of them."""

import asyncio

import pytest

from kodosumi_prefect import budgets
from kodosumi_prefect.budgets import BudgetExceededError


def refuse_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is spent."""

    def spent(fid: str) -> None:
        raise BudgetExceededError("all of it")

    async def spent_async(fid: str) -> None:
        spent(fid)

    monkeypatch.setattr(budgets, "check", spent)
    monkeypatch.setattr(budgets, "check_now", spent)
    monkeypatch.setattr(budgets, "check_async", spent_async)


class Answer:
    """Somebody's, who is asked whether the run may go on.

    Attributes:
        asked: a call waits for it.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._given = asyncio.Event()

    def go_on(self) -> None:
        """The run may."""
        self._given.set()

    def check_now(self, fid: str) -> None:
        """Refuse until it is given."""
        if not self._given.is_set():
            raise BudgetExceededError("somebody is asked")

    async def check_async(self, fid: str) -> None:
        """Wait until it is given."""
        self.asked.set()
        await self._given.wait()


def hold_calls(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Somebody is asked whether the run may go on."""
    answer = Answer()
    monkeypatch.setattr(budgets, "check_now", answer.check_now)
    monkeypatch.setattr(budgets, "check_async", answer.check_async)
    return answer
