"""What a client took, on its way: cut into deliveries, sent oldest first, on disk in an outage."""

import logging
import queue
import time
from collections import deque
from collections.abc import Iterator

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.spooler.batch import PAYLOAD, Batch
from kodosumi_prefect.spooler.freezing import Freezing
from kodosumi_prefect.spooler.inbox import (
    LARGE,
    Barrier,
    Connect,
    Emitted,
    Inbox,
    SpillNow,
    Together,
    Weigh,
)
from kodosumi_prefect.spooler.refused import Refused, RefusedError
from kodosumi_prefect.spooler.replay import Rebase, replaying
from kodosumi_prefect.spooler.route import Route
from kodosumi_prefect.spooler.sends_ahead import Flights, SendsAhead
from kodosumi_prefect.spooler.standing import FREE
from kodosumi_prefect.spooler.storing import GapError
from kodosumi_prefect.spooler.transport import Backlog, NoDatabaseError, Transport
from kodosumi_prefect.spooler.turn import Turn
from kodosumi_prefect.spooler.undelivered import Frozen, Undelivered, batches_of, thin

BATCH_EVENTS = 2000
BATCH_BYTES = 4_000_000
EVENT_BYTES = 120  # what an event costs beside its payload
OUTAGE_LINGER = 0.05  # seconds
LATE = 0.05  # seconds after which unanswered deliveries are written to disk as well
LATE_EVENT = 25e-6  # seconds more that each event may take
RETRY_FIRST = 0.05  # seconds
RETRY_MOST = 2.0  # seconds
RETRY_JITTER = 0.2  # part of a pause

_OUTAGES = (psycopg.Error, ProtocolError, NoDatabaseError, OSError)

logger = logging.getLogger(__name__)


class Delivery:
    """The events of one client between its inbox and the database.

    Only the client's thread calls ``round``, and only its watch ``copy_if_late``; both with the
    turn. The attributes that say how it goes may be read by any thread.

    Arguments:
        settings: where to deliver, and the bounds of memory and spill file.
        inbox: what was emitted.

    Attributes:
        turn: whoever has it may change all this.
        freezing: the executions that the events belong to.
        undelivered: what was cut and is not stored yet.
        route: what deliveries go through.
        outage_since: when a delivery failed and none succeeded since; None without an outage.
        gave_up: a flush waited in vain in this outage, or there is nothing to wait for.
        closing: the client ends; what cannot be stored is to be on disk.
    """

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self.settings = settings
        self._inbox = inbox
        self.turn = Turn()
        self.freezing = Freezing()
        self._flights = Flights()
        self.undelivered = Undelivered(settings, self.freezing.writer, self._flights)
        self._cut = 0
        self._acked = 0
        self._barriers: deque[tuple[int, Barrier]] = deque()
        self._connects: list[Connect] = []
        self._weighs: list[Weigh] = []
        self._rebase = Rebase(Refused(spill.folder(settings)))
        self.route = Route(settings, self.freezing.writer, self._backlog)
        self.outage_since: float | None = None
        self.gave_up = False
        self._retry_at = 0.0
        self._backoff = Backoff(RETRY_FIRST, RETRY_MOST, jitter=RETRY_JITTER)
        self._heartbeat_at = 0.0
        self._orphans: Iterator[tuple[str, int]] | None = None
        self.closing = False

    @property
    def work_left(self) -> bool:
        """Whether something waits in memory."""
        return bool(self.undelivered.queue) or not self._inbox.empty()

    def abandon(self) -> None:
        """After a fork: leave connections and files to the parent process."""
        self.route.abandon()
        self.undelivered.abandon()

    def round(self) -> None:
        """Once through all there is to do, waiting for something at first. With the turn."""
        while self._connects:
            self._hold(self._connects.pop())
        self._collect(self._patience())
        self._deliver()
        self._weigh()
        if self.outage_since is None and not self._flights.count:
            self._beat()
        if not self.undelivered and self.outage_since is None:
            self.freezing.forget()
            self._replay_orphans()
            self.route.close_if_idle(self.settings.idle_connection)

    def copy_if_late(self) -> None:
        """Write what is unanswered for too long to disk, and newer events too. With the turn."""
        if self._is_late(self.turn.asking_for()):
            self._gather()
            self.undelivered.copy()

    def _backlog(self) -> Backlog:
        """What is not delivered yet, for the figures of the Spooler."""
        events = self._inbox.qsize() + self.undelivered.events
        return Backlog(events, self.undelivered.bytes, self.undelivered.spill.size)

    def _patience(self) -> float:
        """Seconds to wait for the next event at most."""
        if self.undelivered:
            return max(self._retry_at - time.monotonic(), 0.0)
        wait = self.settings.idle_connection / 2
        if self.freezing.live:
            wait = min(wait, self._heartbeat_at - time.monotonic())
        return max(wait, 0.001)

    def _collect(self, patience: float) -> None:
        """Cut what was emitted into deliveries, waiting up to ``patience`` for something."""
        try:
            item = self._inbox.get(timeout=patience) if patience else self._inbox.get_nowait()
        except queue.Empty:
            return
        lingers = self._inbox.empty() and not self.closing and not isinstance(item, Barrier)
        if lingers:
            # In an outage there is time to gather more into one batch.
            time.sleep(self.settings.linger if self.outage_since is None else OUTAGE_LINGER)
        chosen: list[Emitted] = []
        size = 0
        deliveries = 0
        while True:
            if isinstance(item, Barrier):
                self._store(chosen, size)
                chosen, size = [], 0
                self._hold(item)
            else:
                size += self._choose(item, chosen)
                if len(chosen) >= BATCH_EVENTS or size >= BATCH_BYTES:
                    self._store(chosen, size)
                    chosen, size = [], 0
                    deliveries += 1
                    # A healthy connection sends now; an outage empties the inbox first.
                    if deliveries >= 4 and self.outage_since is None:
                        break
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
        self._store(chosen, size)

    def _choose(self, item: Emitted | Together, chosen: list[Emitted]) -> int:
        """Have an item go into the next delivery; how many bytes it adds, about."""
        if isinstance(item, Together):
            chosen.extend((item.fid, tuple(event), None) for event in item.events)
            return sum(len(event.payload) + EVENT_BYTES for event in item.events)
        chosen.append(item)
        weight = len(item[1][PAYLOAD])
        if weight > LARGE:
            self._inbox.count_large(-weight)
        return weight + EVENT_BYTES

    def _hold(self, barrier: Barrier) -> None:
        if isinstance(barrier, Connect):
            if self.turn.asked_at is not None:  # by the thread, later
                self._connects.append(barrier)
                return
            try:
                with self.turn.asking():
                    self.route.transport().prepare()
            except _OUTAGES as exc:
                logger.debug("cannot connect ahead of need: %s", exc)
            barrier.passed.set()
        elif isinstance(barrier, SpillNow):
            if self.turn.asked_at is not None:
                self.undelivered.copy()
            elif self.undelivered.queue and (self.outage_since is not None or self.closing):
                self.undelivered.move_to_disk()
            barrier.passed.set()
        elif self._acked >= self._cut:
            self._pass(barrier)
        else:
            self._barriers.append((self._cut, barrier))

    def _pass(self, barrier: Barrier) -> None:
        """All that was emitted before it is stored."""
        barrier.stored = True
        if isinstance(barrier, Weigh):
            self._weighs.append(barrier)  # the thread asks, with nothing on its way
        else:
            barrier.passed.set()

    def _weigh(self) -> None:
        """Ask how executions stand whose calls were stored."""
        if not self._weighs or self._flights.count:
            return
        weighs, self._weighs = self._weighs, []
        try:
            with self.turn.asking():
                fids = list(dict.fromkeys(weigh.fid for weigh in weighs))
                found = self.route.transport().standings(fids)
            for weigh in weighs:
                weigh.standing = found.get(weigh.fid, FREE)
        except _OUTAGES as exc:
            logger.debug("cannot ask how executions stand against their budgets: %s", exc)
        finally:
            for weigh in weighs:
                weigh.passed.set()

    def _store(self, emitted: list[Emitted], size: int) -> None:
        """Freeze a delivery and queue it in memory, or on disk behind what is there."""
        if not emitted and not self._inbox.missing:
            return
        delivery = self._freeze(emitted)
        self._cut += 1
        # What is on its way right now stays where it is.
        sending = self.turn.asked_at is not None and bool(self.undelivered.queue)
        over = not sending and self.undelivered.bytes + size > self.settings.buffer_bytes
        behind = self.undelivered.spill or self.outage_since is not None
        to_disk = not sending and (behind or over)
        if to_disk and self.undelivered.to_disk(delivery, size):
            return
        if over:
            delivery = thin(delivery)
            size = sum(len(e[PAYLOAD]) + EVENT_BYTES for batch in delivery for e in batch.events)
        self.undelivered.add(Frozen(delivery, size))

    def _freeze(self, emitted: list[Emitted]) -> list[Batch]:
        return self.freezing.freeze(emitted, self._inbox.take_missing())

    def _deliver(self) -> None:
        """Send what waits, oldest first, until all is stored or the database fails."""
        while self.undelivered:
            if time.monotonic() < self._retry_at:
                return
            spilled = bool(self.undelivered.spill)
            try:
                with self.turn.asking():
                    transport = self.route.transport()
                if spilled:
                    oldest = self.undelivered.spill.oldest()
                    with self.turn.asking():
                        self._rebase.deliver(transport, [b for one in oldest for b in one])
                    stored = len(oldest)
                else:
                    stored = self._send(transport)
            except Exception as exc:
                if not isinstance(exc, _OUTAGES):
                    logger.exception("unexpected error in a delivery, trying again")
                self._fail(exc)
                return
            if not stored:
                # It is unanswered; newer events are queued behind it.
                if self._is_late(self._flights.age):
                    self.undelivered.copy()
                return
            if spilled:
                self.undelivered.spill.drop(stored)
            for _ in range(0 if spilled else stored):
                self.undelivered.drop_oldest()
            self._acked += stored
            self._recovered()
            while self._barriers and self._barriers[0][0] <= self._acked:
                self._pass(self._barriers.popleft()[1])
            if not self._inbox.empty():
                return

    def _send(self, transport: Transport) -> int:
        """Deliver the oldest of the queue; how many are stored, 0 if that is not known yet."""
        if isinstance(transport, SendsAhead):
            flights = self._flights
            waiting = self.undelivered.oldest(flights.count)
            if waiting and not flights.full:
                batches = [self._rebase(batch) for batch in batches_of(waiting)]
                size = sum(frozen.size for frozen in waiting)
                flights.send(transport, batches, len(waiting), size)
            try:
                return flights.settled()
            except (GapError, RefusedError):
                pass  # perhaps only since the one before it failed; once more, one by one
        waiting = self.undelivered.oldest(0)
        with self.turn.asking():
            self._rebase.deliver(transport, batches_of(waiting))
        return len(waiting)

    def _fail(self, exc: Exception) -> None:
        if self.outage_since is None:
            self.outage_since = time.monotonic()
            self._backoff.reset()
            logger.warning(
                "events cannot be stored now, flows go on: %s", " ".join(str(exc).split())
            )
        self.undelivered.move_to_disk()
        if isinstance(exc, NoDatabaseError):
            self.gave_up = True
            while self._barriers:
                self._barriers.popleft()[1].passed.set()
        self._retry_at = time.monotonic() + self._backoff.next()

    def _recovered(self) -> None:
        if self.outage_since is None:
            return
        logger.info("events are stored again after %.1f s", time.monotonic() - self.outage_since)
        self.outage_since = None
        self.gave_up = False
        self._retry_at = 0.0

    def _beat(self) -> None:
        now = time.monotonic()
        if not self.freezing.live or now < self._heartbeat_at:
            return
        self._heartbeat_at = now + self.settings.heartbeat_interval
        try:
            with self.turn.asking():
                self.route.transport().heartbeat(sorted(self.freezing.live))
        except _OUTAGES as exc:
            # Soon again: once Postgres is back, silence counts against a process after 10 s.
            self._heartbeat_at = now + min(self.settings.heartbeat_interval, RETRY_MOST)
            logger.debug("a heartbeat could not be stored: %s", exc)

    def _replay_orphans(self) -> None:
        """Deliver what ended processes left, as long as this one has no events of its own."""
        transport = self.route.current
        if transport is None:
            return
        if self._orphans is None:
            self._orphans = replaying(self.settings, transport)
        try:
            with self.turn.asking():
                for _ in self._orphans:
                    # The watch may have moved it.
                    if not self._inbox.empty() or self.undelivered.queue:
                        return
        except _OUTAGES as exc:
            logger.warning("cannot deliver a spill file, it is kept and tried again: %s", exc)

    def _gather(self) -> None:
        """As ``_collect``, behind what is on its way."""
        chosen: list[Emitted] = []
        size = 0
        while self.undelivered.bytes + size < self.settings.buffer_bytes:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
            if not isinstance(item, Barrier):
                size += self._choose(item, chosen)
                if len(chosen) < BATCH_EVENTS and size < BATCH_BYTES:
                    continue
            self._store(chosen, size)
            chosen, size = [], 0
            if isinstance(item, Barrier):
                self._hold(item)
        self._store(chosen, size)

    def _is_late(self, age: float) -> bool:
        """Whether an answer takes longer than the size of the delivery explains."""
        if age < LATE:
            return False
        sent = sum(frozen.events for frozen in self.undelivered.oldest(0))
        return age >= LATE + sent * LATE_EVENT
