"""The Observer: records what processes could not report themselves."""

import asyncio
import logging
import time

from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.observer import (
    asking,
    awaiting,
    budgeting,
    cleaning,
    pricing,
    report,
    suspended,
    telling,
)
from kodosumi_prefect.observer.activity import Activity, again_and_again
from kodosumi_prefect.observer.ancestry import Ancestry
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.arrivals import Arrivals
from kodosumi_prefect.observer.asking import Asking
from kodosumi_prefect.observer.awaiting import AwaitingRuns
from kodosumi_prefect.observer.budgeting import Budgeting
from kodosumi_prefect.observer.chosen import Selection
from kodosumi_prefect.observer.cleaning import Cleaning
from kodosumi_prefect.observer.handling import Handling
from kodosumi_prefect.observer.leader import leading
from kodosumi_prefect.observer.logs import Logs
from kodosumi_prefect.observer.naming import Naming
from kodosumi_prefect.observer.orphans import Orphans
from kodosumi_prefect.observer.pricing import Pricing
from kodosumi_prefect.observer.reconciler import Reconciler
from kodosumi_prefect.observer.recorder import Recorder
from kodosumi_prefect.observer.report import Report
from kodosumi_prefect.observer.runs import Runs
from kodosumi_prefect.observer.subscription import Subscription
from kodosumi_prefect.observer.suspended import Suspended
from kodosumi_prefect.observer.tasks import TaskRunRecorder
from kodosumi_prefect.observer.telling import Telling
from kodosumi_prefect.settings import Settings, database_url
from kodosumi_prefect.spooler import client as spool
from kodosumi_prefect.stream.reader import Reader

CONNECTIONS = 4  # to Postgres, beside the one that holds the lock
OFTEN = 0.5  # seconds between checks of what waits for something to happen
RETRIES = 2  # of one request by Prefect's client, which waits longer each time; then we continue

logger = logging.getLogger(__name__)


class Observer:
    """Follows Prefect's runs from outside, as the one leader or standing by; runs until cancelled.

    Sources are Prefect's event stream and, at the start, after every gap and every minute, its
    REST API. Everything it writes is stored once, whoever else writes it, so that a change of
    leader neither loses nor doubles anything.

    Example:
        ```python
        task = asyncio.create_task(Observer(get_settings()).run())
        ...
        await cancel_all([task])
        ```

    Arguments:
        settings: the database, which runs to observe, how long silence counts, retention.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = spool.get_client(settings)
        self._subscription: Subscription | None = None
        self._prices: Pricing | None = None

    async def run(self) -> None:
        """Lead or stand by; an outage of Postgres or Prefect is logged once and waited out."""
        activity = Activity("leading or standing by as observer")
        await again_and_again(self._turn, OFTEN, activity)

    async def _turn(self) -> None:
        """Stand by, lead, and come back when the lead is lost."""
        async with self._reader(CONNECTIONS) as reader:
            own_report = Report(reader)

            async def say() -> None:
                await self._say(own_report)

            activity = Activity("reporting the observer's own state")
            saying = asyncio.create_task(again_and_again(say, report.EVERY, activity))
            try:
                async with leading(self._settings) as lost:
                    logger.info("observer %s is the leader", own_report.name)
                    await self._lead(reader, own_report, lost)
            finally:
                self._subscription = None
                await cancel_all([saying])
                await own_report.end()

    async def _lead(self, reader: Reader, report: Report, lost: asyncio.Event) -> None:
        settings = self._settings
        subscription = self._subscription = Subscription(await report.handled())
        await self._say(report)
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: RETRIES}):
            async with Api() as api, self._reader(telling.CONNECTIONS) as told:
                recorder = Recorder(self._client)
                ancestry = Ancestry(api)
                chosen = Selection(settings, api)
                logs = Logs(reader, api, recorder, ancestry)
                runs = Runs(reader, api, recorder, chosen, logs, settings.heartbeat_timeout)
                tasks = TaskRunRecorder(api, recorder, ancestry, runs.known)
                handling = Handling(subscription, runs, tasks if settings.observe_tasks else None)
                reconciler = Reconciler(settings, reader, api, runs, chosen, logs, subscription)
                cleaner = Cleaning(settings)
                arrivals = Arrivals(settings, reader, api)
                naming = Naming(reader, api)
                orphans = Orphans(settings)
                prices = self._prices = Pricing(settings, reader)
                suspended_runs, awaiting_runs = Suspended(reader, api), AwaitingRuns(reader, api)
                budgets = Budgeting(settings, reader, api, self._client)
                questions = Asking(reader)
                interval = settings.reconcile_interval
                rounds = (
                    (reconciler.look, interval, "comparing runs with Prefect"),
                    (reconciler.search, OFTEN, "looking for runs that events missed"),
                    (runs.settle, OFTEN, "opening runs of other workers"),
                    (tasks.again, OFTEN, "recording task runs"),
                    (logs.look, OFTEN, "reading logs of runs of other workers"),
                    (arrivals.look, interval, "linking new executions in Prefect"),
                    (naming.look, interval, "naming deployments of executions"),
                    (orphans.look, interval, "delivering events that ended processes left"),
                    (prices.look, pricing.EVERY, "looking up prices of models"),
                    (budgets.look, budgeting.EVERY, "following budgets of runs"),
                    (awaiting_runs.look, awaiting.EVERY, "telling Prefect which runs await people"),
                    (suspended_runs.look, suspended.EVERY, "resuming suspended runs"),
                    (questions.look, asking.EVERY, "following questions to people"),
                    (cleaner.look, cleaning.EVERY, "deleting what is past its retention"),
                )
                words = Telling(settings, told, api)
                work = [subscription.run(), handling.run(), words.run()]
                work += [again_and_again(look, every, Activity(t)) for look, every, t in rounds]
                running = [asyncio.create_task(one) for one in work]
                try:
                    await lost.wait()
                finally:
                    cleaner.stop()
                    await cancel_all(running)

    def _reader(self, connections: int) -> Reader:
        url = database_url(self._settings)
        if url is None:
            raise OSError(f"no Postgres is configured and none runs for {self._settings.data_dir}")
        return Reader(url, self._settings.database_schema, connections)

    async def _say(self, report: Report) -> None:
        """Report ``leader``, ``lag`` in seconds, and ``occurred``, the last event handled."""
        followed = self._subscription
        if followed is None:
            await report.say(leader=False)
        else:
            await report.say(
                leader=True,
                lag=round(followed.lag, 3),
                occurred=followed.occurred,
                streaming=followed.healthy,
                prices=self._prices.data if self._prices is not None else None,
                at=time.time(),
            )
