"""Schedules that fell silent: a run was due and did not begin, or none has succeeded for long."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse

from kodosumi_prefect.database.rows.outbox import ScheduleRun
from kodosumi_prefect.database.rows.schedules import NotedSchedule
from kodosumi_prefect.listings import narrowed
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.due_dates import TooManyTimesError, first_due
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader

EVERY = 60.0  # seconds
HOUR = 3600.0  # seconds
MINUTE = 60.0  # seconds
EARLY = 5.0  # seconds by which a run may begin before its time
LOOKED_BACK = 30 * 24 * HOUR  # seconds; what was due before that is not asked for

logger = logging.getLogger(__name__)


class Silence(NamedTuple):
    """Why a schedule counts as silent: ``no_run`` or ``no_success``, and since when.

    Attributes:
        since: epoch seconds: when the first run was due that is missing.
    """

    sort: str
    since: float


class Schedule(NamedTuple):
    """An active schedule in Prefect, and who made it, if it was made through us."""

    id: str
    rule: object
    known_since: float
    deployment: str
    title: str
    owner: str | None
    ours: bool


class Silences:
    """Tells schedules that fell silent, each silence once.

    The times at which runs are due are reckoned from the rules, so that a Prefect which makes no
    runs counts as well.

    Arguments:
        clock: epoch seconds.
    """

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        api: Api,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._minutes = settings.silent_minutes
        self._hours = settings.silent_hours
        self._reader = reader
        self._api = api
        self._clock = clock
        self._told_of: set[str] = set()  # schedules of which it was said that they are not watched

    async def look(self) -> None:
        """Tell what is new, and forget silences that are over."""
        schedules = await self._schedules()
        ids = [schedule.id for schedule in schedules]
        runs = {
            run.schedule_id: run
            for run in await self._reader.rows_of(ScheduleRun, "schedules_run", ids=ids)
        }
        silent: dict[str, list[str]] = {"no_run": [], "no_success": []}
        for schedule in schedules:
            await asyncio.sleep(0)  # reckoning times of many takes long
            run = runs[schedule.id]
            if not schedule.ours and run.ran is None:
                continue  # nothing of it was ever recorded: it is not observed
            for silence in await self._silences(schedule, run):
                silent[silence.sort].append(schedule.id)
                await self._tell(schedule, silence)
        for sort, names in silent.items():
            await self._reader.execute("speak_again", sort=sort, silent=names)

    async def _silences(self, schedule: Schedule, run: ScheduleRun) -> list[Silence]:
        if run.under_way:
            return []
        now = self._clock()
        begin = max(schedule.known_since, now - LOOKED_BACK)
        waits = [
            ("no_run", self._minutes * MINUTE, run.ran),
            ("no_success", self._hours * HOUR, run.succeeded),
        ]
        found = []
        try:
            for sort, wait, last in waits:
                after = max(begin, (last or 0.0) + EARLY)
                if wait and after < now - wait:
                    due = await first_due(schedule.rule, after, now - wait)
                    found += [] if due is None else [Silence(sort, due)]
        except TooManyTimesError as exc:
            self._unreckoned(schedule, exc)
        return found

    def _unreckoned(self, schedule: Schedule, why: TooManyTimesError) -> None:
        if schedule.id not in self._told_of:
            self._told_of.add(schedule.id)
            logger.warning(
                "schedule %s of %r is not watched for silence: %s; give it a cron, an interval, or "
                "a rule without COUNT",
                *(schedule.id, schedule.title, why),
            )

    async def _tell(self, schedule: Schedule, silence: Silence) -> None:
        facts = {
            "title": schedule.title,
            "schedule": schedule.id,
            "deployment": schedule.deployment,
            "why": silence.sort,
            "since": datetime.fromtimestamp(silence.since, UTC).isoformat(),
        }
        await self._reader.execute(
            "fall_silent",
            schedule=schedule.id,
            sort=silence.sort,
            since=silence.since,
            owner=schedule.owner,
            facts=json.dumps(facts),
        )

    async def _schedules(self) -> list[Schedule]:
        """The active ones of all deployments."""
        everyone = {"owner": None, "id": None, "uids": None}
        noted = {
            row.id: row
            for row in await self._reader.rows_of(NotedSchedule, "noted_schedules", **everyone)
        }
        return [
            _schedule(schedule, deployment, noted.get(str(schedule.id)))
            for deployment in await self._deployments()
            for schedule in deployment.schedules
            if schedule.active and not deployment.paused
        ]

    async def _deployments(self) -> list[DeploymentResponse]:
        client = await self._api.client()

        async def read(limit: int, offset: int) -> list[DeploymentResponse]:
            return await client.read_deployments(limit=limit, offset=offset)

        found: list[DeploymentResponse] = []
        last = False
        while not last:
            page = await narrowed(read, "deployment", offset=len(found))
            found += page.rows
            last = page.last
        return found


def _schedule(
    schedule: DeploymentSchedule, deployment: DeploymentResponse, noted: NotedSchedule | None
) -> Schedule:
    # Changed later than made: paused and resumed, or with another rule; it counts from then on.
    known_since = max(moment for moment in (schedule.created, schedule.updated) if moment)
    return Schedule(
        str(schedule.id),
        schedule.schedule,
        known_since.timestamp(),
        str(deployment.id),
        (noted.summary if noted else None) or deployment.name,
        noted.owner if noted else None,
        noted is not None,
    )
