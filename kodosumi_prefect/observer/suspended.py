"""Suspended runs: resumed once somebody answered or their time is up, as a safety net."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prefect.client.orchestration import PrefectClient

from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension.resuming import CLAIM, resume

EVERY = 0.5  # seconds
PORTION = 100  # runs at once
AT_ONCE = 4  # of them, at Prefect's
CLOCK_EVERY = 60.0  # seconds between looks for what a clock that was set back holds up


@dataclass(frozen=True, slots=True)
class Due:
    """A row of ``due_to_resume``."""

    fid: str
    leg: int


class Suspended:
    """Resumes suspended runs."""

    def __init__(self, reader: Reader, api: Api) -> None:
        self._reader = reader
        self._api = api
        self._clock_at = 0.0

    async def look(self) -> None:
        """Resume what is due."""
        if time.monotonic() >= self._clock_at:
            await self._reader.execute("resume_by_set_back_clock", claim=CLAIM)
            self._clock_at = time.monotonic() + CLOCK_EVERY
        due = await self._reader.rows_of(Due, "due_to_resume", limit=PORTION)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(fid: str) -> None:
            async with turns:
                await resume(fid, self._reader, self._prefect)

        outcomes = await asyncio.gather(*(one(row.fid) for row in due), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    @asynccontextmanager
    async def _prefect(self) -> AsyncIterator[PrefectClient]:
        yield await self._api.client()
