"""Ends the streams of executions whose process cannot do it any more.

Looks at executions that are not over, asks Prefect what became of them, and records that.
"""

import asyncio
import logging
import os
import platform
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import httpx
import psycopg
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from kodosumi_prefect.events import TERMINAL, Event, Kind, State, Status
from kodosumi_prefect.runner.states import reason, recorded, status_of
from kodosumi_prefect.settings import Settings, database_url
from kodosumi_prefect.spooler import client as spool
from kodosumi_prefect.spooler.reader import Reader
from kodosumi_prefect.spooler.replay import replay_orphans
from kodosumi_prefect.spooler.spooler import ProtocolError, Spooler

PREFECT_PAGE = 200  # flow runs Prefect returns at most
SETTLED = 2.0  # seconds a reported crash or cancellation rests before it is believed
ABANDONED = 120.0  # seconds after which a terminal state ends a stream whatever the heartbeat says
CALM = 10.0  # seconds the database must have answered before silence counts against a process

logger = logging.getLogger(__name__)

Row = dict[str, Any]


class Reconciler:
    """Follows up executions that no process ends; runs until cancelled.

    Arguments:
        settings: the database, how long a silence counts, how often to look.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = spool.get_client(settings)
        self._answering_since: float | None = None

    async def run(self) -> None:
        """Look again and again; trouble with Postgres or Prefect is told once and waited out."""
        failing = False
        while True:
            try:
                url = database_url(self._settings)
                if url is not None:
                    async with Reader(url, self._settings.database_schema, 1) as reader:
                        while True:
                            await self.look(reader)
                            failing = False
                            await asyncio.sleep(self._settings.reconcile_interval)
            except (
                psycopg.Error,
                httpx.HTTPError,
                PrefectException,
                ProtocolError,
                OSError,
                RuntimeError,
            ) as exc:
                self._answering_since = None
                if not failing:
                    logger.warning("cannot look after runs now: %s", " ".join(str(exc).split()))
                failing = True
            await asyncio.sleep(self._settings.reconcile_interval)

    async def look(self, reader: Reader) -> None:
        """Deliver what ended processes left on disk, then compare live executions with Prefect."""
        await asyncio.to_thread(self._replay)
        after = 0
        async with get_client() as prefect:
            while rows := await reader.live(self._settings.heartbeat_timeout, after=after):
                if self._answering_since is None:
                    self._answering_since = time.monotonic()
                after = rows[-1]["id"]
                for start in range(0, len(rows), PREFECT_PAGE):
                    await self._compare(prefect, rows[start : start + PREFECT_PAGE])

    async def _compare(self, prefect: PrefectClient, rows: list[Row]) -> None:
        ids = [UUID(row["fid"]) for row in rows]
        runs = await prefect.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=PREFECT_PAGE
        )
        by_id = {str(run.id): run for run in runs}
        for row in rows:
            run = by_id.get(row["fid"])
            if run is None:
                self._deleted(row)
            elif run.state is not None:
                await self._follow(prefect, row, run)

    async def _follow(self, prefect: PrefectClient, row: Row, run: FlowRun) -> None:
        assert run.state is not None
        status = status_of(run.state)
        age = time.time() - run.state.timestamp.timestamp()
        if status in TERMINAL:
            told_by_others = run.state.type in (StateType.CRASHED, StateType.CANCELLED)
            silent = row["stale"] and self._calm()
            if silent or (told_by_others and age > SETTLED) or age > ABANDONED:
                self._report(row, run)
        elif _is_news(row, run):
            self._report(row, run)
        elif row["stale"] and self._calm() and run.state.type is StateType.RUNNING:
            await self._bury(prefect, row, run)

    def _report(self, row: Row, run: FlowRun) -> None:
        """Record the run's state, with an ``error`` event if it failed without saying why."""
        assert run.state is not None
        state = recorded(run.state)
        status = status_of(run.state)
        attempt = max(run.run_count, row["attempt"], 1)
        self._emit(row, status, state, reason(run.state), attempt)

    def _deleted(self, row: Row) -> None:
        """The run is gone from Prefect: nobody will ever say more about it."""
        if not row["stale"] or not self._calm():
            return
        why = "The flow run was deleted from Prefect before it ended"
        made = str(uuid5(UUID(row["fid"]), "deleted"))
        state = State(made, StateType.CRASHED.value, "Deleted", why, time.time())
        self._emit(row, Status.ERROR, state, why, row["attempt"])

    def _emit(self, row: Row, status: Status, state: State, why: str, attempt: int) -> None:
        now = time.time()
        events = []
        if status is Status.ERROR and not row["has_error"]:
            events.append(
                Event(now, Kind.ERROR, why, attempt, dedupe=f"error:{state.id}", note=why)
            )
        events.append(
            Event(now, Kind.STATUS, status, attempt, dedupe=f"state:{state.id}", state=state)
        )
        self._client.emit_together(row["fid"], tuple(events))

    async def _bury(self, prefect: PrefectClient, row: Row, run: FlowRun) -> None:
        """Tell Prefect of a run whose process died on this machine without a word."""
        process = row["process"]
        if not process or process.get("host") != platform.node() or is_alive(process):
            return
        message = f"Process {process['pid']} on {process['host']} ended without saying so."
        await prefect.set_flow_run_state(run.id, Crashed(message=message), force=True)

    def _calm(self) -> bool:
        """Whether the database has answered long enough for heartbeats to have arrived."""
        since = self._answering_since
        return since is not None and time.monotonic() - since > CALM

    def _replay(self) -> None:
        url = database_url(self._settings)
        if url is None:
            return
        spooler = Spooler(url, self._settings.database_schema)
        try:
            for path, count in replay_orphans(self._settings, spooler).items():
                logger.info("delivered %d batches that an ended process left in %s", count, path)
        finally:
            spooler.close()


def is_alive(process: dict[str, Any]) -> bool:
    """Whether the process that a row names still runs on this machine.

    Where the start time cannot be read, a process with the same id counts as the same.
    """
    try:
        os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        stat = Path(f"/proc/{process['pid']}/stat").read_text()
    except OSError:
        return True
    fields = stat.rpartition(")")[2].split()
    return fields[0] != "Z" and process.get("started") in (None, float(fields[19]))


def _is_news(row: Row, run: FlowRun) -> bool:
    """Whether Prefect knows a later state than the row."""
    assert run.state is not None
    if row["state_ts"] is None:
        return True
    return bool(run.state.timestamp.timestamp() > row["state_ts"] + 1e-3)
