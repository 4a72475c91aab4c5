"""Tasks that are not over, in Prefect's engines. What is said of it was read in Prefect 3.8.8."""

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import wraps
from types import CodeType
from typing import Any, Protocol

from prefect import futures
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.exceptions import Pause
from prefect.futures import PrefectConcurrentFuture
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect.transactions import AsyncTransaction, Transaction

from kodosumi_prefect.vocabulary import AWAITING_INPUT

TELL = 3.0  # seconds
LEFT = "kodosumi_left"  # of an engine: its task ended with a leg
MESSAGE = (
    "The run waits for an answer without a process; this task had not ended, and begins anew with "
    "the answer."
)

# What a thread that waits for tasks has on its stack.
WAITS: set[CodeType] = {
    PrefectConcurrentFuture.wait.__code__,
    PrefectConcurrentFuture.result.__code__,
    futures.wait.__code__,
    futures.as_completed.__code__,
}


class Hooks(Protocol):
    """What hears of tasks that begin and end."""

    def is_held(self, task: "Task[..., Any]") -> bool:
        """Whether a task may not begin now, since it is being decided whether the leg ends."""

    def hold(self, task: "Task[..., Any]") -> None:
        """Block until that is decided."""

    def under_way(self, task: "Task[..., Any]") -> AbstractContextManager[None]:
        """Around a task's run, from what it waits for before it begins to its last hook."""


def waits_for_tasks(thread: int) -> bool:
    """Whether a thread, by its ident, waits for tasks that it or another one submitted."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code in WAITS:
            return True
        frame = frame.f_back
    return False


def threads_of(pool: "ThreadPoolTaskRunner[Any]") -> int:
    """How many tasks a task runner runs at once."""
    return pool._max_workers


def ends_leg(signal: Pause) -> bool:
    """Whether a run is suspended to wait for people, and not by somebody in Prefect."""
    return signal.state is not None and signal.state.name == AWAITING_INPUT


def suspended() -> State[Any]:
    """The state of a task that ended with a leg."""
    return Cancelled(name="Suspended", message=MESSAGE)


def tell_prefect() -> None:
    """Have what this process says to Prefect's server be there before the process may end."""
    EventsWorker.drain_all(timeout=TELL, at_exit=False)


def wrap_engine(engine: Any, hooks: Hooks) -> None:
    """Have a class of task engines tell when runs begin and end, and record those of a leg's end.

    Prefect leaves a task that a suspension ends as Running, for ever.
    """
    initialize_run, log_finished = engine.initialize_run, engine.log_finished_message

    @wraps(initialize_run)
    @contextmanager
    def sync_initialize_run(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        with initialize_run(self, *args, **options) as run, hooks.under_way(self.task):
            hooks.hold(self.task)
            try:
                yield run
            except Pause as signal:
                if ends_leg(signal) and not self.state.is_final():
                    setattr(self, LEFT, True)
                    self.set_state(suspended(), force=True)
                raise

    @wraps(initialize_run)
    @asynccontextmanager
    async def async_initialize_run(self: Any, *args: Any, **options: Any) -> AsyncIterator[Any]:
        async with initialize_run(self, *args, **options) as run:
            with hooks.under_way(self.task):
                if hooks.is_held(self.task):
                    await asyncio.to_thread(hooks.hold, self.task)
                try:
                    yield run
                except Pause as signal:
                    if ends_leg(signal) and not self.state.is_final():
                        setattr(self, LEFT, True)
                        await self.set_state(suspended(), force=True)
                    raise

    @wraps(log_finished)
    def log_finished_message(self: Any) -> None:
        if getattr(self, LEFT, False):
            self.logger.info("Finished in state %s", self.state)
        else:
            log_finished(self)

    waits = inspect.iscoroutinefunction(engine.call_task_fn)
    engine.initialize_run = async_initialize_run if waits else sync_initialize_run
    engine.log_finished_message = log_finished_message


def wrap_transactions() -> None:
    """Have the end of a leg roll nothing back: what is done stays done."""
    sync_exit: Callable[..., Any] = Transaction.__exit__
    async_exit: Callable[..., Any] = AsyncTransaction.__aexit__

    @wraps(sync_exit)
    def leave(self: Any, *error: Any) -> Any:
        _keep_done(self, error)
        return sync_exit(self, *error)

    @wraps(async_exit)
    async def leave_async(self: Any, *error: Any) -> Any:
        _keep_done(self, error)
        return await async_exit(self, *error)

    Transaction.__exit__ = leave  # type: ignore[method-assign]
    AsyncTransaction.__aexit__ = leave_async  # type: ignore[method-assign]


def _keep_done(transaction: Any, error: tuple[Any, ...]) -> None:
    if not (isinstance(error[1], Pause) and ends_leg(error[1])):
        return
    while transaction is not None:
        transaction.children.clear()
        transaction.on_rollback_hooks.clear()
        transaction = transaction.get_parent()
