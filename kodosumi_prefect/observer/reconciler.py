"""Compares live executions with Prefect, as seldom as events allow and as often as needed."""

import time
from dataclasses import dataclass
from uuid import UUID

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.events import Status
from kodosumi_prefect.listings import PAGE
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.chosen import Selection
from kodosumi_prefect.observer.dead import bury
from kodosumi_prefect.observer.logs import Logs
from kodosumi_prefect.observer.resting import Resting
from kodosumi_prefect.observer.runs import Runs
from kodosumi_prefect.observer.subscription import OVERLAP, Subscription
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import LiveExecution
from kodosumi_prefect.suspension.stranded import crash_stranded

ALWAYS = 60.0  # seconds after which a live execution is compared, whatever events reported
AT_A_LOOK = PAGE  # executions that wait without a process, once in ALWAYS; they are many
CALM = 10.0  # seconds the database must have answered before silence counts against a process


@dataclass
class _Pace:
    """When an execution is compared next, by the monotonic clock, and the pauses while silent."""

    due: float
    backoff: Backoff


class Reconciler:
    """Looks into Postgres every few seconds, and asks Prefect about those that need it.

    These are: executions seen for the first time, those whose process is silent (at growing
    intervals), those whose run has ended, all of them after a gap in Prefect's events and while
    no events arrive, and every one once a minute.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        api: Api,
        runs: Runs,
        chosen: Selection,
        logs: Logs,
        subscription: Subscription,
    ) -> None:
        self._interval = settings.reconcile_interval
        self._timeout = settings.heartbeat_timeout
        self._reader = reader
        self._api = api
        self._runs = runs
        self._chosen = chosen
        self._logs = logs
        self._subscription = subscription
        self._paces: dict[str, _Pace] = {}
        self._resting = Resting(api)
        self._suspended_after = 0
        self._suspended_at = 0.0
        self._answering_since: float | None = None
        self._searched = subscription.occurred or time.time()
        self._search_at = 0.0
        self._found_paused = False

    async def look(self) -> None:
        """Compare what is due."""
        try:
            rows = await self._live()
            page = await self._suspended()
            ending = await self._suspended_that_end()
        except Exception:
            self._answering_since = None
            raise
        if self._answering_since is None:
            self._answering_since = time.monotonic()
        self._logs.follow_only(rows)  # nothing runs that could log of one that is suspended
        rows += ending
        if page is not None:
            ended = {row.fid for row in ending}
            rows += [row for row in await self._resting.disturbed(page) if row.fid not in ended]
        fids = {row.fid for row in rows}
        self._runs.ending &= fids
        self._paces = {fid: pace for fid, pace in self._paces.items() if fid in fids}
        due = [row for row in rows if self._is_due(row)]
        try:
            for start in range(0, len(due), PAGE):
                await self._compare(due[start : start + PAGE])
        except Exception:
            for row in due:
                self._paces.pop(row.fid, None)  # they are due again at once
            raise
        if page is not None:
            self._turn_page(page)

    async def search(self) -> None:
        """After a gap in the events, and every minute, look for chosen runs they missed."""
        if self._subscription.connected.is_set():
            self._subscription.connected.clear()
            self._paces.clear()
        elif time.monotonic() < self._search_at:
            return
        # Prefect keeps times by its own clock, and runs may have ended while nobody looked.
        now = time.time()
        self._search_at = 0.0
        await self._runs.find(self._searched - OVERLAP, long_paused=not self._found_paused)
        self._searched, self._found_paused = now, True
        self._search_at = time.monotonic() + ALWAYS

    async def _live(self) -> list[LiveExecution]:
        rows: list[LiveExecution] = []
        after = 0
        while page := await self._reader.live(self._timeout, after=after):
            rows += page
            after = page[-1].id
        return rows

    async def _suspended(self) -> list[LiveExecution] | None:
        """Some of those that wait without a process, each in its turn; None if it is no time."""
        if time.monotonic() < self._suspended_at:
            return None
        return await self._reader.suspended(
            self._timeout, after=self._suspended_after, limit=AT_A_LOOK
        )

    async def _suspended_that_end(self) -> list[LiveExecution]:
        """Those of them whose run has ended, by an event."""
        ending = list(self._runs.ending)
        return await self._reader.suspended(self._timeout, fids=ending) if ending else []

    def _turn_page(self, page: list[LiveExecution]) -> None:
        self._suspended_at = time.monotonic() + ALWAYS
        last = len(page) < AT_A_LOOK
        self._suspended_after = 0 if last else page[-1].id
        if last:
            self._resting.end_turn()

    def _is_due(self, row: LiveExecution) -> bool:
        fid = row.fid
        now = time.monotonic()
        pace = self._paces.get(fid)
        if pace is None:
            self._paces[fid] = _Pace(now + ALWAYS, Backoff(self._interval, ALWAYS))
            return True
        if fid in self._runs.ending or not self._subscription.healthy:
            return True
        # Where a lock is open a process waits; where Prefect paused the run there need be none.
        paused = row.status == Status.AWAITING and not row.open_locks
        silent = row.stale and row.process is not None and not paused
        if not silent:
            pace.backoff.reset()
            if now < pace.due:
                return False
            pace.due = now + ALWAYS
            return True
        if pace.due - now > pace.backoff.pause:
            pace.due = now  # it was not silent the last time
        if now < pace.due:
            return False
        pace.due = now + (pace.backoff.next() if self._is_calm() else pace.backoff.pause)
        return True

    async def _compare(self, rows: list[LiveExecution]) -> None:
        by_id = await self._api.flow_runs([row.fid for row in rows])
        calm = self._is_calm()
        for row in rows:
            fid = UUID(row.fid)
            if fid in by_id.unreadable:
                continue  # it exists, but Prefect cannot serialize it
            run = by_id.rows.get(fid)
            self._resting.compared(row, run)
            if await self._runs.compare(row, run, calm) and run is not None:
                await bury(self._api, row, run, await self._chosen.our_pools())
        await crash_stranded(await self._api.client(), by_id.rows.values())

    def _is_calm(self) -> bool:
        """Whether the database has answered long enough for heartbeats to have arrived."""
        since = self._answering_since
        return since is not None and time.monotonic() - since > CALM
