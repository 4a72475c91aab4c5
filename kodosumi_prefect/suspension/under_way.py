"""What of a run is not over in this process: its flow, subflows and tasks; and which only wait."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from prefect.task_runners import ThreadPoolTaskRunner

from kodosumi_prefect._compat.prefect_unfinished import threads_of, waits_for_tasks
from kodosumi_prefect.suspension.calls import Call

ENDING = 5.0  # seconds that tasks in other processes have to end with their leg
GLANCE = 0.05  # seconds between looks whether they have


class Elsewhere(Protocol):
    """A submitted task that executes in another process."""

    @property
    def over(self) -> bool:
        """Whether it is over, however it ended."""

    @property
    def needs_others(self) -> bool:
        """Whether it cannot begin before other tasks are over."""

    def pending(self, others: "Sequence[Any]") -> "set[Any]":
        """Those of others of its kind that are known not to have begun; may take a moment."""

    def leave(self, signal: BaseException) -> None:
        """Have who waits for it raise this, once ``let_go`` is called."""

    def let_go(self) -> None:
        """It has ended with its leg."""

    def kill(self) -> None:
        """End it, wherever it is."""


class Work:
    """The code of a flow, a subflow or a task that has begun, or was submitted, and is not over.

    Arguments:
        name: what people call it.
        call: by which the next leg knows it; None for the flow itself.
        around: whose code called it and goes on when it is over; None if it was submitted.
        pool: in whose threads it runs; None if in that of ``around``, or in another process.

    Attributes:
        thread: ident of the thread that its code is in; None until it has begun.
        waits: at how many locks its code waits.
        left: its function has returned.
        elsewhere: what is known of it, if it was submitted to another process.
        parked: locks that all of its code waits at in that process; None: it does not, as far as
            is known.
        queued: it has not begun there for so long that nothing is lost if it begins in another leg.
    """

    def __init__(
        self,
        name: str,
        call: Call | None,
        around: "Work | None" = None,
        pool: "ThreadPoolTaskRunner[Any] | None" = None,
    ) -> None:
        self.name = name
        self.call = call
        self.around = around
        self.pool = pool
        self.thread: int | None = None
        self.waits = 0
        self.left = False
        self.elsewhere: Elsewhere | None = None
        self.parked: list[str] | None = None
        self.queued = False

    @property
    def is_waiting(self) -> bool:
        """Whether it waits at a lock or for tasks."""
        if self.left:
            return False
        if self.elsewhere is not None:
            return self.queued or self.parked is not None or self.elsewhere.needs_others
        return self.waits > 0 or (self.thread is not None and waits_for_tasks(self.thread))


class UnderWay:
    """The work of one leg of a run in one process; may be used by many threads.

    Attributes:
        changed: called when work is over, or no longer waits.
        signal: what ends the leg, once it has ended.
    """

    def __init__(self) -> None:
        self.changed: Callable[[], None] = _nothing
        self.signal: BaseException | None = None
        self._works: dict[str, Work] = {}
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()

    def submit(self, call: Call, pool: "ThreadPoolTaskRunner[Any] | None") -> None:
        """A task is handed to a task runner; ``pool`` as in ``Work``."""
        with self._lock:
            self._works[call.path] = Work(call.name, call, None, pool)

    def go_elsewhere(self, path: str, elsewhere: Elsewhere) -> None:
        """What was submitted executes in another process."""
        with self._lock:
            if (work := self._works.get(path)) is not None:
                work.elsewhere = elsewhere

    def elsewhere(self) -> list[Work]:
        """What executes in other processes, or is to, in the order in which it was submitted."""
        with self._lock:
            works = list(self._works.values())
        return [work for work in works if work.elsewhere is not None and not work.elsewhere.over]

    def parked(self) -> list[str]:
        """The locks that tasks in other processes wait at, as far as is known."""
        return [lid for work in self.elsewhere() for lid in work.parked or ()]

    def leave(self, signal: BaseException) -> None:
        """The leg has ended: so does what executes in other processes."""
        self.signal = signal
        works = {work.elsewhere: work for work in self.elsewhere() if work.elsewhere is not None}
        for one in works:
            one.leave(signal)
        try:
            self._end([one for one, work in works.items() if work.parked is None], [*works])
        finally:
            for one in works:
                one.let_go()

    def _end(self, at_once: "list[Elsewhere]", works: "list[Elsewhere]") -> None:
        for one in at_once:
            one.kill()
        until = time.monotonic() + ENDING
        while (left := [one for one in works if not one.over]) and time.monotonic() < until:
            time.sleep(GLANCE)
        for one in left:
            one.kill()

    def begin(self, path: str, name: str, call: Call | None) -> Work:
        """Work begins in the calling thread; if nobody submitted it, the calling code goes on
        when it is over."""
        with self._lock:
            work = self._works.get(path)
            if work is None or work.thread is not None:
                work = self._works[path] = Work(name, call, doing.get())
            work.thread = threading.get_ident()
        return work

    def end(self, path: str) -> None:
        """Work is over, if it was not before."""
        with self._lock:
            over = self._works.pop(path, None)
        if over is not None:
            self.changed()

    @contextmanager
    def inside(self, path: str, name: str, call: Call | None) -> Iterator[None]:
        """Around the code of a subflow or a task."""
        token = doing.set(self.begin(path, name, call))
        try:
            yield
        finally:
            doing.reset(token)
            self.end(path)

    @contextmanager
    def waiting(self, work: Work | None) -> Iterator[None]:
        """Inside the block the code of ``work`` waits at a lock."""
        if work is None:
            yield
            return
        with self._lock:
            work.waits += 1
        try:
            yield
        finally:
            with self._lock:
                work.waits -= 1

    def busy(self) -> list[str]:
        """Names of what is under way and neither waits at a lock nor for what does.

        Tasks in the queue of a thread pool all of whose threads wait do not count either.
        """
        with self._lock:
            works = list(self._works.values())
        waiting = {work for work in works if work.is_waiting}
        for work in list(waiting):
            around = work.around
            while around is not None and around not in waiting and not around.left:
                waiting.add(around)
                around = around.around
        begun = Counter(id(work.pool) for work in works if work.thread is not None)
        for work in works:
            if work.thread is None and work.pool is not None:
                full = begun[id(work.pool)] >= threads_of(work.pool)
                waiting |= {work} if full else set()
        return [work.name for work in works if work not in waiting]

    def calls(self) -> list[Call]:
        """The calls that are not over."""
        with self._lock:
            return [work.call for work in self._works.values() if work.call is not None]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block no task begins: it waits until the block ends."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @property
    def is_held(self) -> bool:
        return not self._open.is_set()

    def hold(self) -> None:
        """Block as long as no task may begin."""
        self._open.wait()


def _nothing() -> None:
    """Nobody waits at a lock."""


doing: ContextVar[Work | None] = ContextVar("kodosumi_work", default=None)
