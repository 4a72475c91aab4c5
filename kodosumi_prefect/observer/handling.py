"""Passing the events of Prefect's stream to the rules, in order, until they were handled."""

import asyncio
import logging

from prefect.events import Event

from kodosumi_prefect.observer.activity import OUTAGES, PAUSE, Activity, asked_to_wait
from kodosumi_prefect.observer.changes import RunChange, TaskChange, change_of
from kodosumi_prefect.observer.runs import Runs
from kodosumi_prefect.observer.subscription import Subscription
from kodosumi_prefect.observer.tasks import TaskRunRecorder

logger = logging.getLogger(__name__)


class Handling:
    """Takes events from the stream; those that could not be handled in an outage are kept.

    Arguments:
        tasks: None if task runs are not to be recorded.
    """

    def __init__(
        self, subscription: Subscription, runs: Runs, tasks: TaskRunRecorder | None
    ) -> None:
        self._subscription = subscription
        self._runs = runs
        self._tasks = tasks
        self._activity = Activity("handling events from Prefect", "they wait in order")

    async def run(self) -> None:
        """Handle events until cancelled."""
        async for batch in self._subscription.batches():
            while not await self._handled(batch):
                pass

    async def _handled(self, batch: list[Event]) -> bool:
        try:
            changes = [change for event in batch if (change := change_of(event)) is not None]
            runs = [change for change in changes if isinstance(change, RunChange)]
            await self._runs.take(runs)
            if self._tasks is not None:
                self._tasks.meet(change.id for change in runs if change.parent is None)
                await self._tasks.take([c for c in changes if isinstance(c, TaskChange)])
        except OUTAGES as exc:
            self._activity.met(exc)
            await asyncio.sleep(max(PAUSE, asked_to_wait(exc)))
            return False
        except Exception:
            # A bug of ours would fail each time; comparing runs makes up for it.
            logger.exception(
                "skipped %d events from Prefect; comparing runs makes up for them", len(batch)
            )
        self._activity.over()
        return True
