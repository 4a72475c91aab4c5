"""Logs in Prefect of runs that no process of ours executes, and their ends, which come after."""

import logging
import re
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any
from uuid import UUID

from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterTimestamp
from prefect.client.schemas.objects import Log
from prefect.client.schemas.sorting import LogSort
from prefect.types import DateTime

from kodosumi_prefect.adapter.capture import NOT_OURS, RUN_LOGGERS
from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.events import Status
from kodosumi_prefect.listings import PAGE, ListingPage, narrowed
from kodosumi_prefect.observer.ancestry import Ancestry
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.changes import RunChange
from kodosumi_prefect.observer.recorder import Recorder
from kodosumi_prefect.status import status_of
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import LiveExecution, ObservedExecution

OFTEN = 2.0  # seconds between reads of a run that logs; Prefect sends logs every 2 seconds
SELDOM = 8.0  # seconds between reads of one that is quiet
OVERLAP = 5.0  # seconds read again each time; processes send their lines at different times
LAST_OVERLAP = 60.0  # seconds read again at the end of a run
LAST_LINES = 4.0  # seconds that an end waits for lines that were logged before it
LATE_LINES = 30.0  # seconds after an end for which lines are still looked for
CLOCKS = 1.0  # seconds that a run's clock may be behind Prefect's
REMEMBERED = 20_000  # lines of one run that are known to be stored

BEGUN = "Encountered exception during execution:"
DONE = "Finished in state "
# The engine's own lines about a run; authors' lines come by the same loggers.
ENGINE = re.compile(
    r"(Beginning (flow|subflow) run '|Created (task|subflow flow) run '|Executing (task|flow) '|"
    r"Finished in state |Encountered exception during execution:|Crash detected! |Crash details:|"
    r"Task run (failed with|was aborted)|Received non-final state |Running hook '|Hook '[^']*' "
    r"finished running|An error was encountered while running hook|Renamed (flow|task) run '|"
    r"View at http|Downloading flow code from storage|Tried to set traceparent|"
    r"Running `retry_condition_fn`|Process '?[^']*'? (for flow run )?.*exited|> Running )"
)

logger = logging.getLogger(__name__)


@dataclass
class _Followed:
    """A run whose logs are read.

    Attributes:
        cursor: epoch seconds of the newest line read.
        seen: ids of lines that were read, newest last.
        done: epoch seconds of the engine's last line about the root.
        traceback: what the engine logged about an exception.
    """

    fid: str
    attempt: int
    cursor: float | None = None
    due: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(OFTEN, SELDOM))
    seen: dict[str, None] = field(default_factory=dict)
    order: deque[str] = field(default_factory=deque)
    done: float = 0.0
    traceback: str | None = None
    end: tuple[ObservedExecution, RunChange] | None = None
    ends_at: float = 0.0
    over_at: float | None = None


class Logs:
    """Reads new lines every few seconds and records them, each once, in the root's stream."""

    def __init__(self, reader: Reader, api: Api, recorder: Recorder, ancestry: Ancestry) -> None:
        self._reader = reader
        self._api = api
        self._recorder = recorder
        self._ancestry = ancestry
        self._followed: dict[str, _Followed] = {}

    def follow(self, fid: str, attempt: int) -> None:
        """Read the logs of a run from now on, from its first line."""
        followed = self._followed.setdefault(fid, _Followed(fid, attempt))
        followed.attempt = max(followed.attempt, attempt)

    def follow_only(self, rows: list[LiveExecution]) -> None:
        """Follow the live executions that no process of ours runs, and let go of the others."""
        live = {row.fid for row in rows}
        for row in rows:
            if row.process is not None:
                self.forget(row.fid)
            elif row.opened and row.status != Status.STARTING:
                self.follow(row.fid, row.attempt)
        for followed in self._followed.values():
            if followed.fid not in live and followed.end is None and followed.over_at is None:
                followed.over_at = time.monotonic()

    def forget(self, fid: str) -> None:
        """A process of ours records the run's output itself."""
        self._followed.pop(fid, None)
        self._ancestry.forget(fid)

    def go_on(self, fid: str) -> None:
        """The run is in a live state; an end that waited for lines is recorded before it."""
        if (followed := self._followed.get(fid)) is not None:
            self._record_end(followed)
            followed.over_at = None
            followed.traceback = None

    def end(self, row: ObservedExecution, change: RunChange) -> None:
        """The run ended: record the end behind the lines that came before."""
        self.follow(row.fid, change.run_count)
        followed = self._followed[row.fid]
        if followed.end is None or followed.end[1].state.id != change.state.id:
            if followed.over_at is None:
                followed.ends_at = time.monotonic() + LAST_LINES
            followed.end = (row, change)
            followed.due = 0.0

    async def look(self) -> None:
        """Read what is due."""
        now = time.monotonic()
        for followed in [f for f in self._followed.values() if f.due <= now]:
            count = await self._drain(followed)
            if followed.end is not None:
                followed.due = now + OFTEN / 4
                last_line = followed.end[1].state.timestamp.timestamp() - CLOCKS
                if followed.done > last_line or now >= followed.ends_at:
                    self._record_end(followed)
                    followed.over_at = now
            elif followed.over_at is not None and now > followed.over_at + LATE_LINES:
                self.forget(followed.fid)
            else:
                if count:
                    followed.backoff.reset()
                else:
                    followed.backoff.next()
                followed.due = now + followed.backoff.pause

    def _record_end(self, followed: _Followed) -> None:
        if followed.end is None:
            return
        row, change = followed.end
        followed.end = None
        failed = status_of(change.state) is Status.ERROR
        self._recorder.state(row, change, followed.traceback if failed else None)

    async def _drain(self, followed: _Followed) -> int:
        """Record the lines that came since; how many."""
        if followed.cursor is None:
            await self._ancestry.learn(followed.fid)
            [newest] = await self._reader.values("newest_log", fid=followed.fid)
            followed.cursor = newest or 0.0
        overlap = LAST_OVERLAP if followed.end is not None else OVERLAP
        since = max(followed.cursor - overlap, 0.0)
        offset = count = 0
        while True:
            page = await self._page(followed.fid, since, offset)
            for log in page.rows:
                count += self._take(followed, log)
            if page.last:
                return count
            last = page.rows[-1].timestamp.timestamp() if page.rows else since
            # From the last line's time on; by number among lines of the same time.
            offset = offset + PAGE if last <= since else 0
            since = max(since, last)

    async def _page(self, fid: str, since: float, offset: int) -> ListingPage[Log]:
        ids = [UUID(fid), *map(UUID, self._ancestry.below(fid))]
        client = await self._api.client()
        log_filter = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=ids),
            timestamp=LogFilterTimestamp(after_=DateTime.fromtimestamp(since, UTC)),
        )

        async def read(limit: int, offset: int) -> list[Log]:
            return await client.read_logs(
                log_filter, limit=limit, offset=offset, sort=LogSort.TIMESTAMP_ASC
            )

        return await narrowed(read, f"line of the log of {fid},", limit=PAGE, offset=offset)

    def _take(self, followed: _Followed, log: Log) -> bool:
        key = str(log.id)
        if key in followed.seen:
            return False
        followed.seen[key] = None
        followed.order.append(key)
        if len(followed.order) > REMEMBERED:
            del followed.seen[followed.order.popleft()]
        ts = log.timestamp.timestamp()
        followed.cursor = max(followed.cursor or 0.0, ts)
        of_root = str(log.flow_run_id) == followed.fid
        if is_engines(log.name, log.message):
            if of_root and log.task_run_id is None and log.name in RUN_LOGGERS:
                if log.message.startswith(BEGUN):
                    followed.traceback = log.message.partition("\n")[2] or None
                if log.message.startswith(DONE):
                    followed.done = ts
            return False
        source: dict[str, Any] = {
            "log": key,
            "level": logging.getLevelName(log.level),
            "logger": log.name,
        }
        if log.task_run_id is not None:
            task = str(log.task_run_id)
            source["task_run"] = {"id": task, "name": self._ancestry.task_names.get(task, "")}
        if not of_root:
            name = self._ancestry.name(str(log.flow_run_id))
            source["subflow"] = {"id": str(log.flow_run_id), "name": name}
        self._recorder.log(followed.fid, key, ts, log.message, followed.attempt, source)
        return True


def is_engines(name: str, message: str) -> bool:
    """Whether a line is Prefect's own rather than the author's, as far as can be told."""
    if name in RUN_LOGGERS:
        return ENGINE.match(message) is not None
    return name.partition(".")[0] in NOT_OURS
