"""A task on Ray as its run's process knows it, which may have to end it with its leg."""

import concurrent.futures
import logging
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.exceptions import PrefectException

if TYPE_CHECKING:
    import ray

PORTION = 100  # task runs that Prefect is asked about at once
LET_GO = 30.0  # seconds that who waits for the task waits at most until it has ended

logger = logging.getLogger(__name__)


class OnRay:
    """Keeps the task's state on Ray, and not its value.

    Arguments:
        ref: Ray's reference to the task's final state.
        future: done when that is there.
        before: likewise of the tasks whose results it is given.
    """

    def __init__(
        self,
        task_run_id: UUID,
        ref: "ray.ObjectRef[Any]",
        future: "concurrent.futures.Future[Any]",
        before: "Sequence[concurrent.futures.Future[Any]]" = (),
    ) -> None:
        self._task_run_id = task_run_id
        self._ref = ref
        self._future = future
        # Weakly: their states keep values on Ray. Ray itself holds those that are not done.
        self._before = [weakref.ref(one) for one in before]
        self._gone = threading.Event()
        self.signal: BaseException | None = None

    @property
    def over(self) -> bool:
        """As ``suspension.under_way.Elsewhere``; so are the others."""
        return self._future.done()

    @property
    def needs_others(self) -> bool:
        before = [one() for one in self._before]
        return any(one is not None and not one.done() for one in before)

    def pending(self, others: "Sequence[OnRay]") -> "set[OnRay]":
        # Ray would have to keep a dashboard to tell; Prefect knows of all tasks that began.
        left = {one._task_run_id: one for one in others}
        ids = list(left)
        try:
            with get_client(sync_client=True) as client:
                for first in range(0, len(ids), PORTION):
                    some = ids[first : first + PORTION]
                    chosen = TaskRunFilter(id=TaskRunFilterId(any_=some))
                    for run in client.read_task_runs(task_run_filter=chosen, limit=len(some)):
                        del left[run.id]
        except (httpx.HTTPError, PrefectException, OSError) as exc:
            logger.debug("which of %d tasks began is not known: %s", len(ids), exc)
            return set()
        return set(left.values())

    def leave(self, signal: BaseException) -> None:
        self.signal = signal

    def let_go(self) -> None:
        self._gone.set()

    def kill(self) -> None:
        import ray

        ray.cancel(self._ref, force=True)

    def leaves(self) -> bool:
        """Whether it ends with its leg."""
        return self.signal is not None

    def raise_if_left(self) -> None:
        """Raise what ends the leg, if it has ended and with it the task."""
        if self.signal is not None:
            self._gone.wait(LET_GO)
            raise self.signal
