"""Metrics for Prometheus: numbers of this panel and its database, never a user's name."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sized

import psycopg
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kodosumi_prefect.database.connection import silences
from kodosumi_prefect.database.rows.outbox import OutboxCount
from kodosumi_prefect.database.rows.system import (
    ExecutionCount,
    RunnerCount,
    Service,
    UseOfModel,
)
from kodosumi_prefect.events import Status
from kodosumi_prefect.panel.audit.trail import Trail
from kodosumi_prefect.panel.system import observers, spoolers
from kodosumi_prefect.panel.web.templating import package_version
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.reader import Reader

COUNT_EVERY = 15.0  # seconds; counting reads every execution's row
MOST_MODELS = 20  # that have numbers of their own; the others are added up
COUNT_TIMEOUT = 5.0  # seconds
DATABASE_ANSWER_SECONDS = 1.0  # seconds that a scrape waits for the database

logger = logging.getLogger(__name__)


class Metrics(Collector):
    """The metrics of one panel.

    Arguments:
        reader: counts executions, at most every ``COUNT_EVERY`` seconds and never twice at once.
        feed: for the number of its subscribers.
        streams: the panel's open event streams, for their number.
        trail: counts what it could not record.
    """

    def __init__(self, reader: Reader, feed: Feed, streams: Sized, trail: Trail) -> None:
        self._reader = reader
        self._feed = feed
        self._streams = streams
        self._trail = trail
        self._counts: list[ExecutionCount] | None = None
        self._models: list[UseOfModel] = []
        self._outbox: list[OutboxCount] = []
        self._observers: list[Service] = []
        self._runners: list[RunnerCount] = []
        self._counted = float("-inf")
        self._counting: asyncio.Task[None] | None = None
        self._database_up = False
        self._spoolers: list[Service] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def text(self) -> bytes:
        """All of it in Prometheus's text format, in about ``DATABASE_ANSWER_SECONDS``."""
        probe = asyncio.create_task(self._probe())
        counting = self._recount()
        waited = {probe} if counting is None else {probe, counting}
        await asyncio.wait(waited, timeout=DATABASE_ANSWER_SECONDS)
        self._database_up = probe.done() and probe.result()
        probe.cancel()
        return generate_latest(self._registry)

    async def counts(self) -> list[ExecutionCount] | None:
        """Executions and events by status, at most about ``COUNT_EVERY`` seconds old.

        None if they were not counted yet, within ``DATABASE_ANSWER_SECONDS`` seconds.
        """
        if (counting := self._recount()) is not None:
            await asyncio.wait({counting}, timeout=DATABASE_ANSWER_SECONDS)
        return self._counts

    def _recount(self) -> asyncio.Task[None] | None:
        """The count under way, begun if it is time for one."""
        if self._counting is None and time.monotonic() - self._counted >= COUNT_EVERY:
            self._counting = asyncio.create_task(self._count())
        return self._counting

    async def close(self) -> None:
        """Give up a count under way."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "kodosumi_panel_build", "The panel's version.", {"version": package_version()}
        )
        yield _gauge("kodosumi_database_up", "Whether Postgres answers.", self._database_up)
        yield _gauge(
            "kodosumi_feed_subscribers", "Streams that are being followed.", self._feed.subscribers
        )
        yield _gauge("kodosumi_feed_topics", "Executions that have subscribers.", self._feed.topics)
        yield _gauge(
            "kodosumi_feed_listening",
            "Whether notifications arrive; 0: the panel polls.",
            self._feed.connected and not self._feed.polling,
        )
        age = self._feed.round_trip_age
        yield _gauge(
            "kodosumi_feed_round_trip_age_seconds",
            "Since a test notification of the panel arrived; -1: none has.",
            -1.0 if age is None else age,
        )
        yield CounterMetricFamily(
            "kodosumi_feed_losses",
            "Connections for notifications that were lost, or closed as they did not answer.",
            self._feed.losses,
        )
        yield CounterMetricFamily(
            "kodosumi_database_timeouts",
            "Connections to Postgres that were closed as they did not answer.",
            silences(),
        )
        yield _gauge("kodosumi_sse_clients", "Open event streams.", len(self._streams))
        yield CounterMetricFamily(
            "kodosumi_audit_lost",
            "Audit entries that are not stored; they are in the panel's log.",
            self._trail.lost,
        )
        if self._database_up:
            yield from spoolers.metrics(self._spoolers)
            yield from observers.metrics(self._observers, self._runners)
        yield from self._executions()

    def _executions(self) -> Iterator[Metric]:
        if self._counts is None:
            return
        known = {count.status: count.executions for count in self._counts}
        executions = GaugeMetricFamily(
            "kodosumi_executions", "Stored executions, by status.", labels=["status"]
        )
        for status in Status:
            executions.add_metric([status.value], known.get(status.value, 0))
        yield executions
        yield _gauge(
            "kodosumi_events_appended",
            "Events in the streams of the stored executions.",
            sum(count.events for count in self._counts),
        )
        yield from _of_models(self._models)
        yield from _of_outbox(self._outbox)
        yield _gauge(
            "kodosumi_executions_age_seconds",
            "Age of the numbers of executions, events, models and the outbox.",
            time.monotonic() - self._counted,
        )

    async def _probe(self) -> bool:
        try:
            self._spoolers = await spoolers.spoolers(self._reader)
            self._observers = await observers.observers(self._reader)
            self._runners = await self._reader.rows_of(RunnerCount, "count_runners")
        except psycopg.Error:
            return False
        return True

    async def _count(self) -> None:
        try:
            async with asyncio.timeout(COUNT_TIMEOUT):
                self._counts = await self._reader.rows_of(ExecutionCount, "count_executions")
                self._models = await self._reader.rows_of(
                    UseOfModel, "use_by_model", most=MOST_MODELS
                )
                self._outbox = await self._reader.rows_of(OutboxCount, "count_outbox")
            self._counted = time.monotonic()
        except (TimeoutError, psycopg.Error) as exc:
            logger.debug("executions cannot be counted now: %s", exc)
        finally:
            self._counting = None


def _of_models(models: list[UseOfModel]) -> Iterator[Metric]:
    calls = GaugeMetricFamily(
        "kodosumi_model_calls", "Calls of models in the stored executions.", labels=["model"]
    )
    tokens = GaugeMetricFamily(
        "kodosumi_model_tokens", "Tokens that they took.", labels=["model", "direction"]
    )
    cost = GaugeMetricFamily(
        "kodosumi_model_cost_dollars",
        "US dollars of those calls whose price is known.",
        labels=["model"],
    )
    unpriced = GaugeMetricFamily(
        "kodosumi_model_unpriced_calls", "Calls whose price is not known.", labels=["model"]
    )
    for one in models:
        calls.add_metric([one.model], one.calls)
        tokens.add_metric([one.model, "input"], one.input_tokens)
        tokens.add_metric([one.model, "output"], one.output_tokens)
        cost.add_metric([one.model], one.cost)
        unpriced.add_metric([one.model], one.unpriced)
    yield from (calls, tokens, cost, unpriced)


def _of_outbox(outbox: list[OutboxCount]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "kodosumi_outbox_waiting",
        "What is to be told and was not taken yet, by whom it is for.",
        labels=["receiver"],
    )
    oldest = GaugeMetricFamily(
        "kodosumi_outbox_oldest_seconds",
        "Since the oldest of that occurred; 0: nothing waits.",
        labels=["receiver"],
    )
    set_aside = GaugeMetricFamily(
        "kodosumi_outbox_set_aside", "Deliveries to webhooks that failed for a day."
    )
    for one in outbox:
        waiting.add_metric([one.receiver], one.waiting)
        oldest.add_metric([one.receiver], one.oldest)
    set_aside.add_metric([], sum(one.set_aside for one in outbox))
    yield from (waiting, oldest, set_aside)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(name, description, value)
