"""Watching the tasks that a process submitted to others, in a leg that may end at their locks."""

import logging
import threading
import time
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from kodosumi_prefect.locks.waiting import get_waiter
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.suspension.apart import begun, parked_name
from kodosumi_prefect.suspension.keeping import KeptAwayError
from kodosumi_prefect.suspension.place import Leg, leg_here
from kodosumi_prefect.suspension.records import Record
from kodosumi_prefect.suspension.under_way import UnderWay, Work

SWEEP = 30.0  # seconds between looks for what was not heard of
QUEUED = 30.0  # seconds that a task may take to begin while all that has begun waits
GLANCE = 1.0  # seconds between looks whether the flow's own code still works
THREAD_NAME = "kodosumi-spool-elsewhere"  # what it says is not captured

logger = logging.getLogger(__name__)


class Watch:
    """Has a leg end once all that is not over waits, if nobody waits at a lock in this process.

    One thread, which lives as long as there are such tasks. It hears of one of them at a time: as
    long as that one is at work nothing else matters.
    """

    def __init__(self, leg: Leg, under_way: UnderWay) -> None:
        self._leg = leg
        self._under_way = under_way
        self._waiter = get_waiter(get_settings())
        self._news = threading.Event()
        self._awaited: tuple[Work, str, Future[Any]] | None = None
        self._looked = time.monotonic()
        self._queued_since: float | None = None
        leg.watched = self._news.set

    def run(self) -> None:
        """Until nothing is elsewhere, or the leg has ended."""
        try:
            while self._leg.ending is None and (works := self._under_way.elsewhere()):
                self._news.clear()
                at_work = [work for work in works if not work.is_waiting]
                self._leg.elsewhere = not at_work
                if at_work:
                    self._await(at_work)
                else:
                    self._end()
        finally:
            self._leg.elsewhere = False
            self._forget()

    def _await(self, at_work: list[Work]) -> None:
        """Wait until something changes; the task submitted last tells of itself."""
        if self._awaited is None or self._awaited[0] not in at_work:
            self._forget()
            self._hear(at_work[-1])
        assert self._awaited is not None
        work, _, heard = self._awaited
        assert work.elsewhere is not None
        until = self._looked + SWEEP
        if self._queued_since is not None:
            until = min(until, self._queued_since + QUEUED)
        while not (heard.done() or work.elsewhere.over) and (left := until - time.monotonic()) > 0:
            self._news.wait(left)
            self._news.clear()
        if heard.done() or time.monotonic() >= until:
            self._look()

    def _end(self) -> None:
        """All of it waits: end the leg, if what waits in this process agrees."""
        self._forget()
        if self._under_way.busy():
            self._news.wait(GLANCE)
            return
        self._news.wait(min(max(self._leg.patience(), 0.0), SWEEP))
        if self._leg.patience() > 0:
            return
        self._leg.end()
        if self._leg.ending is None:
            self._look()

    def _look(self) -> None:
        """Learn which of them wait, and which have not begun for long."""
        self._forget()
        self._looked = time.monotonic()
        try:
            known = {path: lids for path, _, _, lids in begun(self._leg.whole)}
        except KeptAwayError as exc:
            logger.debug("which tasks wait is not known: %s", exc)
            return
        works = self._under_way.elsewhere()
        for work in works:
            path = work.call.path if work.call is not None else ""
            work.parked = known.get(path)
            work.queued = work.queued and path not in known
        at_work = [work for work in works if not work.is_waiting]
        self._heed_queue(
            works, [w for w in at_work if w.call and w.call.path not in known], at_work
        )

    def _heed_queue(self, works: list[Work], queued: list[Work], at_work: list[Work]) -> None:
        """What waits for the resources of what waits for people must not keep the process."""
        if not queued or queued != at_work or not any(work.parked for work in works):
            self._queued_since = None
        elif self._queued_since is None:
            self._queued_since = time.monotonic()
        elif time.monotonic() >= self._queued_since + QUEUED:
            self._queued_since = None
            tasks = [work.elsewhere for work in queued if work.elsewhere is not None]
            pending = tasks[0].pending(tasks)
            for work in queued:
                work.queued = work.elsewhere in pending

    def _hear(self, work: Work) -> None:
        assert work.call is not None
        name = parked_name(work.call)
        heard = self._waiter.wait(self._leg.fid, name)
        heard.add_done_callback(lambda _: self._news.set())
        self._awaited = (work, name, heard)

    def _forget(self) -> None:
        if self._awaited is not None:
            self._waiter.forget(self._awaited[1])
            self._awaited = None


_lock = threading.Lock()


def watch(record: Record) -> None:
    """Watch what was submitted to other processes, unless that is done already."""
    with _lock:
        if record.watched:
            return
        record.watched = True
    leg = leg_here(record.attempt)
    watching = Watch(leg, record.under_way)

    def run() -> None:
        while True:
            try:
                watching.run()
            except Exception:  # the run goes on all the same, in its process
                logger.exception("execution %s cannot be suspended, it is not watched", leg.fid)
                return
            with _lock:
                if leg.ending is not None or not record.under_way.elsewhere():
                    record.watched = False
                    return

    # In the context of the flow's code: the run, and which Prefect is asked.
    within = copy_context().run
    threading.Thread(target=within, args=[run], name=THREAD_NAME, daemon=True).start()
