"""Prefect's event stream, connected to again whenever it breaks off."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from prefect.events import Event
from prefect.events.clients import PrefectEventSubscriber, get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter

from kodosumi_prefect._compat.prefect import begin_at
from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.observer.activity import Activity
from kodosumi_prefect.observer.changes import FLOW_RUN, TASK_RUN

WAITING = 10_000  # events kept ahead of their handling; beyond, the server keeps them
TOGETHER = 200  # events handled at once
OVERLAP = 60.0  # seconds asked for again after a gap; events may arrive out of order
FARTHEST = 15 * 60.0  # seconds that Prefect goes back at most by its own default
RETRY_FIRST = 0.5  # seconds
RETRY_MOST = 5.0  # seconds

logger = logging.getLogger(__name__)


class Subscription:
    """Reads states of flow runs and task runs from Prefect's event stream.

    The socket's address, and how it authenticates, are Prefect's own: the API's address with its
    path, an auth string or an API key.

    Arguments:
        since: epoch seconds of the last event that was handled before, by whomever; what came
            behind is asked for again as far as Prefect goes back.

    Attributes:
        healthy: events arrive, so that nothing happens to a run unnoticed.
        connected: set at each connection; whoever compares runs with Prefect clears it.
        occurred: epoch seconds of the last event that was handled.
    """

    def __init__(self, since: float | None = None) -> None:
        self.healthy = False
        self.connected = asyncio.Event()
        self.occurred = since
        self._delay = 0.0
        self._queue: asyncio.Queue[Event] = asyncio.Queue(WAITING)
        self._activity = Activity(
            "receiving events from Prefect", "runs are compared with Prefect instead"
        )

    @property
    def lag(self) -> float:
        """Seconds between an event and its handling: the last one's, or more if others wait."""
        if self.occurred is None:
            return 0.0
        if self.healthy and self._queue.empty():
            return self._delay
        return max(time.time() - self.occurred, 0.0)

    async def run(self) -> None:
        """Receive events until cancelled."""
        backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        while True:
            worked = False
            try:
                await self._receive()
                reason: Exception = ConnectionError("Prefect closed the event stream")
            except Exception as exc:  # Prefect raises a bare Exception if the server refuses it
                reason = exc
            finally:
                worked, self.healthy = self.healthy, False
            if worked:
                backoff.reset()  # a proxy that closes idle sockets is no trouble
            else:
                self._activity.met(reason)
            await backoff.sleep()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Events in the order they arrived, some at a time; one counts as handled at the next."""
        while True:
            batch = [await self._queue.get()]
            with suppress(asyncio.QueueEmpty):
                while len(batch) < TOGETHER:
                    batch.append(self._queue.get_nowait())
            yield batch
            last = max(event.occurred.timestamp() for event in batch)
            self.occurred = max(self.occurred or 0.0, last)
            self._delay = max(time.time() - last, 0.0)

    async def _receive(self) -> None:
        subscriber = get_events_subscriber(_event_filter(), reconnection_attempts=0)
        if self.occurred is not None:
            _go_back(subscriber, self.occurred - OVERLAP)
        async with subscriber:
            self.healthy = True
            self.connected.set()
            self._activity.over()
            async for event in subscriber:
                await self._queue.put(event)


def _event_filter() -> EventFilter:
    # A running flow's heartbeats add nothing to its states.
    names = EventNameFilter(prefix=[FLOW_RUN, TASK_RUN], exclude_name=[f"{FLOW_RUN}heartbeat"])
    return EventFilter(event=names)


def _go_back(subscriber: PrefectEventSubscriber, since: float) -> None:
    """Have the first connection bring what happened since then, as Prefect's own reconnect does."""
    earliest = time.time() - FARTHEST
    moment = datetime.fromtimestamp(max(since, earliest), UTC)
    begin_at(subscriber, min(moment, datetime.now(UTC) - timedelta(seconds=OVERLAP)))
