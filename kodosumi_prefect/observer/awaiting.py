"""Runs that wait for people in their process: Paused in Prefect meanwhile, and Running again."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass

from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import SetStateStatus

from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension import awaiting

EVERY = 0.5  # seconds
AGAIN = 3.0  # seconds until a run is looked at again whose state was set
SLOT_AGAIN = 60.0  # likewise, if it shows Running since it has a slot
AT_ONCE = 4  # runs, at Prefect's


@dataclass(frozen=True, slots=True)
class Awaiting:
    """A row of ``awaiting_in_process``.

    Attributes:
        state_type: as last recorded.
        open_locks: how many questions there are; none where the run was paused for one.
        heading: what is asked first.
        expires: until when, in seconds since the epoch.
    """

    fid: str
    state_type: str | None
    open_locks: int
    heading: str | None
    expires: float | None


class AwaitingRuns:
    """Has Prefect show what Postgres knows: the first question pauses, the last answer resumes.

    It is the one place that decides, since questions of one run may be asked in many processes.
    Whoever waits is never held up by it, and while Prefect is away its states are as they were.
    """

    def __init__(self, reader: Reader, api: Api) -> None:
        self._reader = reader
        self._api = api
        self._paused: set[str] = set()  # by this, though it may not be recorded yet
        self._not_before: dict[str, float] = {}  # by the monotonic clock

    async def look(self) -> None:
        """Set the states that differ."""
        rows = await self._reader.rows_of(Awaiting, "awaiting_in_process")
        now = time.monotonic()
        self._not_before = {fid: at for fid, at in self._not_before.items() if at > now}
        asking = {row.fid: row for row in rows if row.open_locks and row.heading is not None}
        differing = [
            self._pause(row)
            for fid, row in asking.items()
            if row.state_type == StateType.RUNNING.value and fid not in self._not_before
        ]
        await self._leave_suspended({row.fid for row in rows})
        answered = self._paused.union(row.fid for row in rows) - asking.keys()
        differing += [self._resume(fid) for fid in answered]
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(setting: Coroutine[None, None, None]) -> None:
            async with turns:
                await setting

        outcomes = await asyncio.gather(*map(one, differing), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _leave_suspended(self, in_process: set[str]) -> None:
        """Forget runs that are being suspended: only an answer may resume those."""
        if gone := self._paused - in_process:
            self._paused -= {*await self._reader.values("still_asking", fids=list(gone))}

    async def _pause(self, row: Awaiting) -> None:
        run = await self._api.flow_run(row.fid)
        if run is None or not (run.state and run.state.is_running()):
            pass
        elif awaiting.holds_slot(run.state):
            self._not_before[row.fid] = time.monotonic() + SLOT_AGAIN
            return
        else:
            assert row.heading is not None
            assert row.expires is not None
            again = row.fid in self._paused
            state = awaiting.in_process(row.heading, row.expires, again)
            client = await self._api.client()
            answer = await client.set_flow_run_state(run.id, state)
            if answer.status is SetStateStatus.ACCEPT:
                self._paused.add(row.fid)
                await self._uncount(row.fid)  # by whomever it is resumed
        # Prefect's event tells the rest.
        self._not_before[row.fid] = time.monotonic() + AGAIN

    async def _resume(self, fid: str) -> None:
        run = await self._api.flow_run(fid)
        if run is not None and awaiting.awaits_in_process(run.state):
            if not run.empirical_policy.resuming:
                await self._uncount(fid)
            await (await self._api.client()).resume_flow_run(run.id)
        self._paused.discard(fid)

    async def _uncount(self, fid: str) -> None:
        run = await self._api.flow_run(fid)
        if run is not None and awaiting.awaits_in_process(run.state):
            client = await self._api.client()
            await client.update_flow_run(run.id, empirical_policy=awaiting.uncounted(run))
