"""The spool client: takes events in microseconds, delivers them from a thread of its own."""

import atexit
import logging
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.database.connection import ANSWER_TIMEOUT
from kodosumi_prefect.events import DROPPABLE_KINDS, Event
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.spooler.batch import KIND, PAYLOAD, Batch, Fields, Header
from kodosumi_prefect.spooler.freezing import Freezing
from kodosumi_prefect.spooler.inbox import Barrier, Connect, Emitted, SpillNow, Together
from kodosumi_prefect.spooler.refused import Refused, RefusedError
from kodosumi_prefect.spooler.replay import Rebase, replaying
from kodosumi_prefect.spooler.route import Route, warm
from kodosumi_prefect.spooler.sends_ahead import Flights, SendsAhead
from kodosumi_prefect.spooler.storing import GapError
from kodosumi_prefect.spooler.transport import Backlog, NoDatabaseError, Transport
from kodosumi_prefect.spooler.undelivered import Frozen, Undelivered, batches_of, thin

BATCH_EVENTS = 2000
BATCH_BYTES = 4_000_000
EVENT_BYTES = 120  # what an event costs beside its payload
INBOX_SOFT = 100_000  # emitters are slowed down beyond this many events waiting to be batched
INBOX_HARD = 200_000  # stdio events are only counted beyond this many events waiting
LARGE = 10_000  # characters; a longer payload is counted on its own
OUTAGE_LINGER = 0.05  # seconds
HURRIED_LINGER = 0.001  # seconds; events emitted together make one delivery and not two
LATE = 0.05  # seconds after which unanswered deliveries are written to disk as well
LATE_EVENT = 25e-6  # seconds more that each event may take
RETRY_FIRST = 0.05  # seconds
RETRY_MOST = 2.0  # seconds
RETRY_JITTER = 0.2  # part of a pause
SPILL_WAIT = 2.0  # seconds to write undeliverable events to the spill file
SPILL_GLANCE = 0.1  # seconds likewise, for frequent callers
THREAD_NAME = "kodosumi-spool"
WATCH_NAME = "kodosumi-spool-watch"

logger = logging.getLogger(__name__)


class SpoolClient:
    """Delivers the events of this process, in order, once, whatever happens to the database.

    ``emit`` never waits for the database. During an outage everything goes to a spill file.

    Arguments:
        settings: where to deliver, and the bounds of memory and spill file.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._enabled = settings.enabled
        self._begin()
        _all_clients.add(self)

    def _begin(self) -> None:
        """Start from nothing, as a new writer; in a forked child too."""
        self._inbox: queue.SimpleQueue[Emitted | Together | Barrier] = queue.SimpleQueue()
        self._freezing = Freezing()
        self._missing: dict[str, int] = {}
        self._flood_lock = threading.Lock()
        self._large = 0
        self._flights = Flights()
        self._undelivered = Undelivered(self.settings, self._freezing.writer, self._flights)
        self._cut = 0
        self._acked = 0
        self._barriers: deque[tuple[int, Barrier]] = deque()
        # May change all this: the thread, and the watch while the thread waits for an answer.
        self._turn = threading.Lock()
        self._asked_at: float | None = None
        self._asking_began = threading.Event()
        self._connects: list[Connect] = []
        self._rebase = Rebase(Refused(spill.folder(self.settings)))
        self._route = Route(self.settings, self._freezing.writer, self._backlog)
        self._outage_since: float | None = None
        self._gave_up = False
        self._retry_at = 0.0
        self._backoff = Backoff(RETRY_FIRST, RETRY_MOST, jitter=RETRY_JITTER)
        self._heartbeat_at = 0.0
        self._orphans: Iterator[tuple[str, int]] | None = None
        self._closing = False
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watch: threading.Thread | None = None

    # Called from any thread.

    def emit(self, fid: str, event: Event, *, alive: bool | None = None) -> None:
        """Take one event of an execution. Costs microseconds; never raises, never waits long.

        Arguments:
            fid: the execution.
            alive: True if this process runs the execution and lives, False if it is done with it.
        """
        self.emit_fields(fid, tuple(event), alive)

    def emit_fields(self, fid: str, fields: Fields, alive: bool | None = None) -> None:
        """As ``emit``, for the fields of an ``Event`` as a plain tuple; the fastest way."""
        if not self._enabled:
            return
        waiting = self._inbox.qsize()
        size = len(fields[PAYLOAD])
        watched = waiting > INBOX_SOFT or size > LARGE
        if watched and self._is_flooded(waiting, size) and fields[KIND] in DROPPABLE_KINDS:
            with self._flood_lock:
                self._missing[fid] = self._missing.get(fid, 0) + 1
            self._count_large(-size)
            return
        self._inbox.put((fid, fields, alive))
        if self._thread is None:
            self._start()

    def emit_together(self, fid: str, events: tuple[Event, ...]) -> None:
        """Take events that are stored in one transaction, so that nobody sees half of them."""
        if not self.settings.enabled:
            return
        self._inbox.put(Together(fid, events))
        if self._thread is None:
            self._start()

    def describe(self, fid: str, header: Header) -> None:
        """Set what is known about an execution; it is sent along with each of its batches."""
        self._freezing.headers[fid] = header

    def follow(self, fid: str) -> None:
        """This process runs the execution: send heartbeats for it."""
        self._freezing.live.add(fid)

    def unfollow(self, fid: str) -> None:
        """This process no longer runs the execution."""
        self._freezing.live.discard(fid)

    def hurry(self, timeout: float) -> None:
        """Have a connection, and send almost without lingering from now on.

        For code whose end is not announced: its events are stored before its caller continues.

        Arguments:
            timeout: most seconds to wait for the connection.
        """
        self.settings = self.settings.model_copy(update={"linger": HURRIED_LINGER})
        if not self._route.has_transport:
            warm()
            self._connect(timeout)

    def instance(self, timeout: float = 0.0) -> str | None:
        """The id of the database this process records to; None if that is not known yet.

        Arguments:
            timeout: most seconds to wait for it. In an outage there is no waiting.
        """
        if timeout and self._route.instance is None:
            self._connect(timeout)
        return self._route.instance

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything emitted so far is stored.

        Arguments:
            timeout: seconds; None means the setting ``flush_timeout``. During an outage in which
                a flush gave up already, it is not waited again.

        Returns:
            False if it is not stored yet; then it is in the spill file, or will be.
        """
        if self._thread is None:
            return not self.undelivered
        if threading.current_thread() is self._thread:
            return False
        timeout = self.settings.flush_timeout if timeout is None else timeout
        barrier = Barrier()
        self._inbox.put(barrier)
        barrier.passed.wait(0.1 if self._gave_up else timeout)
        if barrier.stored:
            return True
        if not self._gave_up and self._outage_since is not None:
            self._gave_up = True
            logger.warning(
                "events could not be stored within %.1f s; they wait in %s for the next process "
                "or `kodosumi-prefect spool replay`",
                timeout,
                self._undelivered.spill.path,
            )
        self._spill_now(SPILL_WAIT)
        return False

    def deliver(self, timeout: float, *, last: bool = False) -> None:
        """Have what was emitted stored, or in the spill file: this process may be killed next.

        Arguments:
            timeout: most seconds to wait for the database. In an outage there is no waiting.
            last: nothing is emitted behind it, so the connection is given back.
        """
        if self._thread is None or threading.current_thread() is self._thread:
            return
        if self._outage_since is not None:
            self._spill_now(SPILL_WAIT if last else SPILL_GLANCE)
        elif self.flush(timeout) and last:
            self.close()

    def close(self) -> None:
        """Flush, or spill what cannot be flushed, and end the thread. The next emit starts anew."""
        with self._start_lock:
            thread = self._thread
            if thread is None:
                return
        if thread.is_alive() and thread is not threading.current_thread():
            self.flush(1.0 if self._outage_since is not None else None)
            self._closing = True
            spilled = SpillNow()
            self._inbox.put(spilled)
            until = time.monotonic() + ANSWER_TIMEOUT + 1.0
            spilled.passed.wait(ANSWER_TIMEOUT + 1.0)
            thread.join(max(until - time.monotonic(), 1.0))
        if not thread.is_alive():
            self._route.close()
            self._watch = None
            self._asking_began.set()  # so that the watch sees it
        self._thread = None
        self._closing = False

    @property
    def connected(self) -> bool:
        """Whether the last delivery succeeded, or none was needed yet."""
        return self._outage_since is None

    @property
    def undelivered(self) -> int:
        """Events and deliveries that are not stored yet, about."""
        return self._inbox.qsize() + len(self._undelivered.queue) + len(self._undelivered.spill)

    def after_fork(self) -> None:
        """Forget what belongs to the parent process, which goes on delivering it."""
        self._route.abandon()
        self._undelivered.abandon()
        self._begin()

    def _spill_now(self, timeout: float) -> None:
        spilled = SpillNow()
        self._inbox.put(spilled)
        spilled.passed.wait(timeout)

    def _connect(self, timeout: float) -> None:
        """Have the thread connect, and wait for it; not in an outage."""
        if self._outage_since is not None or not self._enabled:
            return
        barrier = Connect()
        self._inbox.put(barrier)
        if self._thread is None:
            self._start()
        barrier.passed.wait(timeout)

    def _backlog(self) -> Backlog:
        """What is not delivered yet, for the figures of the Spooler."""
        events = self._inbox.qsize() + self._undelivered.events
        return Backlog(events, self._undelivered.bytes, self._undelivered.spill.size)

    def _is_flooded(self, waiting: int, size: int) -> bool:
        """Count a large payload, slow a flooding emitter down; True if it must be dropped."""
        large = self._count_large(size)
        if waiting <= INBOX_SOFT and large <= self.settings.buffer_bytes:
            return False
        # Lets the delivering thread catch up; far shorter than a network round trip.
        time.sleep(0.001)
        return self._inbox.qsize() > INBOX_HARD or large > 2 * self.settings.buffer_bytes

    def _count_large(self, size: int) -> int:
        """Add to (or take from) the sum of large payloads in the inbox, and return it."""
        with self._flood_lock:
            if abs(size) > LARGE:
                self._large += size
            return self._large

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                # Known before it runs: it ends itself once it is not the client's thread any more.
                self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
                self._watch = threading.Thread(target=self._look, name=WATCH_NAME, daemon=True)
                try:
                    self._thread.start()
                    self._watch.start()
                except RuntimeError as exc:  # the interpreter shuts down
                    self._thread = self._watch = None
                    logger.debug("cannot start the thread that delivers events: %s", exc)

    # In the delivering thread.

    def _run(self) -> None:
        me = threading.current_thread()
        while self._thread is me:
            try:
                with self._turn:
                    self._round()
                if self._closing and not self._work_left():
                    return
            except Exception:
                logger.exception("unexpected error in the spool client, it continues")
                time.sleep(RETRY_FIRST)

    def _work_left(self) -> bool:
        return bool(self._undelivered.queue) or not self._inbox.empty()

    def _round(self) -> None:
        while self._connects:
            self._hold(self._connects.pop())
        self._collect(self._patience())
        self._deliver()
        if self._outage_since is None and not self._flights.count:
            self._beat()
        if not self._undelivered and self._outage_since is None:
            self._freezing.forget()
            self._replay_orphans()
            self._route.close_if_idle(self.settings.idle_connection)

    def _patience(self) -> float:
        """Seconds to wait for the next event at most."""
        if self._undelivered:
            return max(self._retry_at - time.monotonic(), 0.0)
        wait = self.settings.idle_connection / 2
        if self._freezing.live:
            wait = min(wait, self._heartbeat_at - time.monotonic())
        return max(wait, 0.001)

    def _collect(self, patience: float) -> None:
        """Cut what was emitted into deliveries, waiting up to ``patience`` for something."""
        try:
            item = self._inbox.get(timeout=patience) if patience else self._inbox.get_nowait()
        except queue.Empty:
            return
        lingers = self._inbox.empty() and not self._closing and not isinstance(item, Barrier)
        if lingers:
            # In an outage there is time to gather more into one batch.
            time.sleep(self.settings.linger if self._outage_since is None else OUTAGE_LINGER)
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
                    if deliveries >= 4 and self._outage_since is None:
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
            self._count_large(-weight)
        return weight + EVENT_BYTES

    def _hold(self, barrier: Barrier) -> None:
        if isinstance(barrier, Connect):
            if self._asked_at is not None:  # by the thread, later
                self._connects.append(barrier)
                return
            try:
                with self._asking():
                    self._route.transport().prepare()
            except _OUTAGES as exc:
                logger.debug("cannot connect ahead of need: %s", exc)
            barrier.passed.set()
        elif isinstance(barrier, SpillNow):
            if self._asked_at is not None:
                self._undelivered.copy()
            elif self._undelivered.queue and (self._outage_since is not None or self._closing):
                self._undelivered.move_to_disk()
            barrier.passed.set()
        elif self._acked >= self._cut:
            barrier.stored = True
            barrier.passed.set()
        else:
            self._barriers.append((self._cut, barrier))

    def _store(self, emitted: list[Emitted], size: int) -> None:
        """Freeze a delivery and queue it in memory, or on disk behind what is there."""
        if not emitted and not self._missing:
            return
        delivery = self._freeze(emitted)
        self._cut += 1
        # What is on its way right now stays where it is.
        sending = self._asked_at is not None and bool(self._undelivered.queue)
        over = not sending and self._undelivered.bytes + size > self.settings.buffer_bytes
        behind = self._undelivered.spill or self._outage_since is not None
        to_disk = not sending and (behind or over)
        if to_disk and self._undelivered.to_disk(delivery, size):
            return
        if over:
            delivery = thin(delivery)
            size = sum(len(e[PAYLOAD]) + EVENT_BYTES for batch in delivery for e in batch.events)
        self._undelivered.add(Frozen(delivery, size))

    def _freeze(self, emitted: list[Emitted]) -> list[Batch]:
        with self._flood_lock:
            missing, self._missing = self._missing, {}
        return self._freezing.freeze(emitted, missing)

    def _deliver(self) -> None:
        """Send what waits, oldest first, until all is stored or the database fails."""
        while self._undelivered:
            if time.monotonic() < self._retry_at:
                return
            spilled = bool(self._undelivered.spill)
            try:
                with self._asking():
                    transport = self._route.transport()
                if spilled:
                    delivery = self._undelivered.spill.peek()
                    with self._asking():
                        self._rebase.deliver(transport, delivery)
                    stored = 1
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
                    self._undelivered.copy()
                return
            if spilled:
                self._undelivered.spill.pop()
            for _ in range(0 if spilled else stored):
                self._undelivered.drop_oldest()
            self._acked += stored
            self._recovered()
            while self._barriers and self._barriers[0][0] <= self._acked:
                barrier = self._barriers.popleft()[1]
                barrier.stored = True
                barrier.passed.set()
            if not self._inbox.empty():
                return

    def _send(self, transport: Transport) -> int:
        """Deliver the oldest of the queue; how many are stored, 0 if that is not known yet."""
        if isinstance(transport, SendsAhead):
            flights = self._flights
            waiting = self._undelivered.oldest(flights.count)
            if waiting and not flights.full:
                batches = [self._rebase(batch) for batch in batches_of(waiting)]
                size = sum(frozen.size for frozen in waiting)
                flights.send(transport, batches, len(waiting), size)
            try:
                return flights.settled()
            except (GapError, RefusedError):
                pass  # perhaps only since the one before it failed; once more, one by one
        waiting = self._undelivered.oldest(0)
        with self._asking():
            self._rebase.deliver(transport, batches_of(waiting))
        return len(waiting)

    def _fail(self, exc: Exception) -> None:
        if self._outage_since is None:
            self._outage_since = time.monotonic()
            self._backoff.reset()
            logger.warning(
                "events cannot be stored now, flows go on: %s", " ".join(str(exc).split())
            )
        self._undelivered.move_to_disk()
        if isinstance(exc, NoDatabaseError):
            self._gave_up = True
            while self._barriers:
                self._barriers.popleft()[1].passed.set()
        self._retry_at = time.monotonic() + self._backoff.next()

    def _recovered(self) -> None:
        if self._outage_since is None:
            return
        logger.info("events are stored again after %.1f s", time.monotonic() - self._outage_since)
        self._outage_since = None
        self._gave_up = False
        self._retry_at = 0.0

    def _beat(self) -> None:
        now = time.monotonic()
        if not self._freezing.live or now < self._heartbeat_at:
            return
        self._heartbeat_at = now + self.settings.heartbeat_interval
        try:
            with self._asking():
                self._route.transport().heartbeat(sorted(self._freezing.live))
        except _OUTAGES as exc:
            # Soon again: once Postgres is back, silence counts against a process after 10 s.
            self._heartbeat_at = now + min(self.settings.heartbeat_interval, RETRY_MOST)
            logger.debug("a heartbeat could not be stored: %s", exc)

    def _replay_orphans(self) -> None:
        """Deliver what ended processes left, as long as this one has no events of its own."""
        transport = self._route.current
        if transport is None:
            return
        if self._orphans is None:
            self._orphans = replaying(self.settings, transport)
        try:
            with self._asking():
                for _ in self._orphans:
                    # The watch may have moved it.
                    if not self._inbox.empty() or self._undelivered.queue:
                        return
        except _OUTAGES as exc:
            logger.warning("cannot deliver a spill file, it is kept and tried again: %s", exc)

    # In the watch.

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """While the thread waits for others, and touches nothing that the watch does."""
        self._asked_at = time.monotonic()
        if not self._asking_began.is_set():
            self._asking_began.set()
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()
            self._asked_at = None

    def _asking_for(self) -> float:
        """Seconds that the thread waits for an answer by now; 0 if it does not."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else max(time.monotonic() - asked_at, 1e-9)

    def _look(self) -> None:
        """Write unanswered deliveries to disk when their answer is late, and newer events too."""
        me = threading.current_thread()
        while self._watch is me:
            self._asking_began.wait()
            time.sleep(LATE / 2)
            if self._asking_for() == 0.0:
                self._asking_began.clear()
                if self._asking_for() == 0.0:  # nor did it begin between these two lines
                    continue
                self._asking_began.set()
            try:
                with self._turn:
                    if self._is_late(self._asking_for()):
                        self._gather()
                        self._undelivered.copy()
            except Exception:
                logger.exception("unexpected error in the spool client's watch, it continues")

    def _gather(self) -> None:
        """As ``_collect``, behind what is on its way."""
        chosen: list[Emitted] = []
        size = 0
        while self._undelivered.bytes + size < self.settings.buffer_bytes:
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
        sent = sum(frozen.events for frozen in self._undelivered.oldest(0))
        return age >= LATE + sent * LATE_EVENT


_OUTAGES = (psycopg.Error, ProtocolError, NoDatabaseError, OSError)


_all_clients: weakref.WeakSet[SpoolClient] = weakref.WeakSet()
_clients: dict[tuple[Any, ...], SpoolClient] = {}
_clients_lock = threading.Lock()


def get_client(settings: Settings | None = None) -> SpoolClient:
    """This process's client for the configured database; made at first use, starts no thread."""
    settings = settings or get_settings()
    secret = settings.database_url.get_secret_value() if settings.database_url else None
    key = (secret, settings.database_schema, settings.data_dir)
    client = _clients.get(key)
    if client is None:
        with _clients_lock:
            client = _clients.setdefault(key, SpoolClient(settings))
    return client


def deliver(timeout: float, *, last: bool = False) -> None:
    """As ``SpoolClient.deliver``, for all clients of this process."""
    for client in list(_clients.values()):
        client.deliver(timeout, last=last)


def _close_all() -> None:
    for client in list(_clients.values()):
        client.close()


def _after_fork() -> None:
    global _clients_lock
    _clients_lock = threading.Lock()
    for client in list(_all_clients):
        client.after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
