"""Runs that wait for people in their process: Paused in Prefect meanwhile, and Running again."""

import asyncio
import logging
import time
from dataclasses import dataclass
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus

from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension import awaiting
from kodosumi_prefect.vocabulary import AWAITING_INPUT

EVERY = 0.5  # seconds
AGAIN = 3.0  # seconds until a run is looked at again whose state was set
SLOT_AGAIN = 60.0  # likewise, if it shows Running since it has a slot
AT_ONCE = 4  # runs, at Prefect's

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Awaiting:
    """A row of ``awaiting_in_process``.

    Attributes:
        state_type, state_name: as last recorded.
        heading: what is asked first; None if nothing is.
        expires: until when, in seconds since the epoch.
    """

    fid: str
    state_type: str | None
    state_name: str | None
    open_locks: int
    heading: str | None
    expires: float | None

    @property
    def asks(self) -> bool:
        """Whether a question is open."""
        return self.open_locks > 0 and self.heading is not None

    @property
    def differs(self) -> bool:
        """Whether Prefect tells something else, as far as is recorded."""
        if self.asks:
            return self.state_type == StateType.RUNNING.value
        return self.state_type == StateType.PAUSED.value and self.state_name == AWAITING_INPUT


class AwaitingRuns:
    """Has Prefect show what Postgres knows: the first question pauses, the last answer resumes.

    It is the one place that decides, since questions of one run may be asked in many processes.
    Whoever waits is never held up by it, and while Prefect is away its states are as they were.
    """

    def __init__(self, reader: Reader, api: Api) -> None:
        self._reader = reader
        self._api = api
        self._paused: dict[str, float] = {}  # when we did last, by the monotonic clock
        self._not_before: dict[tuple[str, bool], float] = {}

    async def look(self) -> None:
        """Set the states that differ."""
        rows = await self._reader.rows_of(Awaiting, "awaiting_in_process")
        now = time.monotonic()
        fids = {row.fid for row in rows}
        self._paused = {fid: at for fid, at in self._paused.items() if fid in fids}
        self._not_before = {key: at for key, at in self._not_before.items() if at > now}
        due = [row for row in rows if row.differs and (row.fid, row.asks) not in self._not_before]
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(row: Awaiting) -> None:
            async with turns:
                await self._align(row)

        outcomes = await asyncio.gather(*map(one, due), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _align(self, row: Awaiting) -> None:
        run = await self._api.flow_run(row.fid)
        if run is None or run.state is None:
            return
        pause = AGAIN
        if row.asks and awaiting.holds_slot(run.state):
            pause = SLOT_AGAIN
        elif row.asks:
            await self._pause(row, run)
        elif awaiting.awaits_in_process(run.state):
            client = await self._api.client()
            await client.update_flow_run(run.id, empirical_policy=awaiting.uncounted(run))
            await client.resume_flow_run(run.id)
        # Prefect's event tells the rest; it is not asked again before that.
        self._not_before[row.fid, row.asks] = time.monotonic() + pause

    async def _pause(self, row: Awaiting, run: FlowRun) -> None:
        assert run.state is not None
        assert row.heading is not None
        assert row.expires is not None
        if not run.state.is_running():
            return
        again = row.fid in self._paused
        state = awaiting.in_process(run, row.heading, row.expires, again)
        answer = await (await self._api.client()).set_flow_run_state(UUID(row.fid), state)
        if answer.status is SetStateStatus.ACCEPT:
            self._paused[row.fid] = time.monotonic()
