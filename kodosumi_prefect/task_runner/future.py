"""The futures of tasks on Ray."""

import concurrent.futures
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.futures import PrefectWrappedFuture
from prefect.states import exception_to_crashed_state
from prefect.utilities.asyncutils import run_coro_as_sync

from kodosumi_prefect._compat.prefect_unfinished import WAITS
from kodosumi_prefect.suspension.apart import go_on_here
from kodosumi_prefect.task_runner.elsewhere import OnRay
from kodosumi_prefect.task_runner.remote_result import RemoteResult
from kodosumi_prefect.task_runner.waiting import is_over

if TYPE_CHECKING:
    import ray

logger = logging.getLogger(__name__)


class RayFuture(PrefectWrappedFuture[Any, "ray.ObjectRef[Any]"]):
    """A Prefect task run on Ray. Waiting can be interrupted by signals and Prefect's timeouts.

    Its state comes to this process when the task run is over, its value when it is asked for.
    Ray keeps the value as long as this future, its state, or a task that it was given to needs it.

    Arguments:
        wrapped_future: Ray's reference to the task's final state.
        value_ref: Ray's reference to its value.
        before: futures of the states of tasks that it is given results of.

    Attributes:
        elsewhere: what ends it with the leg of its run.
    """

    def __init__(
        self,
        task_run_id: UUID,
        wrapped_future: "ray.ObjectRef[Any]",
        value_ref: "ray.ObjectRef[Any]",
        before: "Sequence[concurrent.futures.Future[Any]]" = (),
    ) -> None:
        super().__init__(task_run_id, wrapped_future)
        self.value_ref = value_ref
        self._future: concurrent.futures.Future[Any] = wrapped_future.future()
        self.elsewhere = OnRay(task_run_id, wrapped_future, self._future, before)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task_run_id, self.wrapped_future, self.value_ref)

    @property
    def state_future(self) -> "concurrent.futures.Future[Any]":
        """Done when the task run is over; does not keep its value on Ray."""
        return self._future

    @property
    def done(self) -> bool:
        """Whether the task run is over."""
        return self._final_state is not None or self._future.done()

    @property
    def state(self) -> State[Any]:
        """The task run's state; its value is not fetched for it."""
        if self.done:
            self.wait()
        return super().state

    def state_of(self) -> Callable[[], bool]:
        """Tells whether the task run completed or failed, without keeping its value on Ray."""
        future = self._future

        def ended() -> bool:
            if not future.done() or future.exception() is not None:
                return False
            state: State[Any] = future.result()
            return state.is_completed() or state.is_failed()

        return ended

    def when_over(self, call: Callable[[], None]) -> None:
        """Call something once the task run is over, without keeping its value on Ray."""
        self._future.add_done_callback(lambda _: call())

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task run is over, at most ``timeout`` seconds.

        Raises:
            Pause: the run was suspended, and the task with it.
        """
        if self._final_state is not None:
            return
        over = is_over(self._future, timeout, self.elsewhere.leaves)
        self.elsewhere.raise_if_left()
        go_on_here()  # too late or not
        if not over:
            return
        error = self._future.exception()
        if error is not None:
            self._final_state = run_coro_as_sync(exception_to_crashed_state(error))
            return
        state: State[Any] = self._future.result()
        if isinstance(state.data, RemoteResult):
            state.data.refer_to(self.value_ref)
        self._final_state = state

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """The task's result.

        Raises:
            TimeoutError: it is not there within ``timeout`` seconds.
            Exception: what the task raised, unless ``raise_on_failure`` is False.
        """
        began = time.monotonic()
        self.wait(timeout)
        if self._final_state is None:
            raise self._too_late(timeout)
        record = self._final_state.data
        if isinstance(record, RemoteResult):
            left = None if timeout is None else max(began + timeout - time.monotonic(), 0.0)
            try:
                record.fetch(left)
            except TimeoutError as exc:
                raise self._too_late(timeout) from exc
            return record.result
        return run_coro_as_sync(self._final_state.aresult(raise_on_failure=raise_on_failure))

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call ``fn`` with this future once the task run is over."""
        if self.done:
            fn(self)
            return
        # Not in Ray's thread, in which ``fn`` could not ask for the result.
        self._add_prefect_done_callback(lambda future: _callbacks().submit(_call, fn, future))

    def _add_prefect_done_callback(self, fn: Callable[[Any], Any]) -> None:
        # Prefect's ``wait`` and ``as_completed`` add theirs so, which wait for nothing.
        self._future.add_done_callback(_Callback(self, fn))

    def _too_late(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(
            f"Task run {self.task_run_id} did not complete within {timeout} seconds"
        )


WAITS.add(RayFuture.wait.__code__)


class _Callback:
    """Lets go of future and function when called: Python's future keeps its callbacks for good."""

    def __init__(self, future: RayFuture, fn: Callable[[RayFuture], Any]) -> None:
        self.call: tuple[RayFuture, Callable[[RayFuture], Any]] | None = (future, fn)

    def __call__(self, _: object) -> None:
        if self.call is not None:
            (future, fn), self.call = self.call, None
            fn(future)


@lru_cache(maxsize=1)
def _callbacks() -> concurrent.futures.Executor:
    """The thread that calls what users want called; in the order in which tasks end."""
    return concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="task callbacks")


def _call(fn: Callable[[Any], Any], future: RayFuture) -> None:
    try:
        fn(future)
    except Exception:
        logger.exception("callback of task run %s failed", future.task_run_id)


# What was submitted by this process and is still referred to, with its flow run.
_pending: "weakref.WeakKeyDictionary[RayFuture, UUID | None]" = weakref.WeakKeyDictionary()


def remember(future: RayFuture, flow_run_id: UUID | None) -> None:
    """Have ``cancel_tasks`` know a future, as long as somebody else holds it."""
    _pending[future] = flow_run_id


def cancel_tasks(flow_run_id: UUID | None = None) -> None:
    """Cancel tasks on Ray that are not done.

    Arguments:
        flow_run_id: only those of this flow run; None means all of this process.
    """
    unfinished = [
        future
        for future, flow_run in list(_pending.items())
        if not future.done and flow_run_id in (None, flow_run)
    ]
    if not unfinished:
        return
    import ray

    for future in unfinished:
        ray.cancel(future.wrapped_future, force=True)
