"""The spool client: takes events in microseconds, delivers them from a thread of its own."""

import atexit
import logging
import os
import threading
import time
import weakref
from typing import Any

from kodosumi_prefect.database.connection import ANSWER_TIMEOUT
from kodosumi_prefect.events import Event
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.spooler.batch import PAYLOAD, Fields, Header
from kodosumi_prefect.spooler.delivery import LATE, RETRY_FIRST, Delivery
from kodosumi_prefect.spooler.inbox import (
    INBOX_SOFT,
    LARGE,
    Barrier,
    Connect,
    Inbox,
    SpillNow,
    Together,
    Weigh,
)
from kodosumi_prefect.spooler.route import warm

HURRIED_LINGER = 0.001  # seconds; events emitted together make one delivery and not two
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
        self._enabled = settings.enabled
        self._begin(settings)
        _all_clients.add(self)

    def _begin(self, settings: Settings) -> None:
        """Start from nothing, as a new writer; in a forked child too."""
        self._inbox = Inbox()
        self._delivery = Delivery(settings, self._inbox)
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watch: threading.Thread | None = None

    @property
    def settings(self) -> Settings:
        """Where to deliver, and the bounds of memory and spill file."""
        return self._delivery.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._delivery.settings = settings

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
        watched = waiting > INBOX_SOFT or len(fields[PAYLOAD]) > LARGE
        if watched and self._inbox.drops(fid, fields, waiting, self.settings.buffer_bytes):
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
        self._delivery.freezing.headers[fid] = header

    def follow(self, fid: str) -> None:
        """This process runs the execution: send heartbeats for it."""
        self._delivery.freezing.live.add(fid)

    def unfollow(self, fid: str) -> None:
        """This process no longer runs the execution."""
        self._delivery.freezing.live.discard(fid)

    def hurry(self, timeout: float) -> None:
        """Have a connection, and send almost without lingering from now on.

        For code whose end is not announced: its events are stored before its caller continues.

        Arguments:
            timeout: most seconds to wait for the connection.
        """
        self.settings = self.settings.model_copy(update={"linger": HURRIED_LINGER})
        if not self._delivery.route.has_transport:
            warm()
            self._connect(timeout)

    def instance(self, timeout: float = 0.0) -> str | None:
        """The id of the database this process records to; None if that is not known yet.

        Arguments:
            timeout: most seconds to wait for it. In an outage there is no waiting.
        """
        if timeout and self._delivery.route.instance is None:
            self._connect(timeout)
        return self._delivery.route.instance

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
        barrier.passed.wait(0.1 if self._delivery.gave_up else timeout)
        if barrier.stored:
            return True
        if not self._delivery.gave_up and self._delivery.outage_since is not None:
            self._delivery.gave_up = True
            logger.warning(
                "events could not be stored within %.1f s; they wait in %s for the next process "
                "or `kodosumi-prefect spool replay`",
                timeout,
                self._delivery.undelivered.spill.path,
            )
        self._spill_now(SPILL_WAIT)
        return False

    def weigh(self, fid: str) -> Weigh:
        """Ask how an execution stands against its budgets once all emitted so far is stored.

        Does not wait; what is returned has the answer once it has ``passed``.
        """
        weigh = Weigh(fid)
        if not self._enabled or threading.current_thread() is self._thread:
            weigh.passed.set()
            return weigh
        self._inbox.put(weigh)
        if self._thread is None:
            self._start()
        return weigh

    def deliver(self, timeout: float, *, last: bool = False) -> None:
        """Have what was emitted stored, or in the spill file: this process may be killed next.

        Arguments:
            timeout: most seconds to wait for the database. In an outage there is no waiting.
            last: nothing is emitted behind it, so the connection is given back.
        """
        if self._thread is None or threading.current_thread() is self._thread:
            return
        if self._delivery.outage_since is not None:
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
            self.flush(1.0 if self._delivery.outage_since is not None else None)
            self._delivery.closing = True
            spilled = SpillNow()
            self._inbox.put(spilled)
            until = time.monotonic() + ANSWER_TIMEOUT + 1.0
            spilled.passed.wait(ANSWER_TIMEOUT + 1.0)
            thread.join(max(until - time.monotonic(), 1.0))
        if not thread.is_alive():
            self._delivery.route.close()
            self._watch = None
            self._delivery.turn.wake()  # so that the watch sees it
        self._thread = None
        self._delivery.closing = False

    @property
    def connected(self) -> bool:
        """Whether the last delivery succeeded, or none was needed yet."""
        return self._delivery.outage_since is None

    @property
    def undelivered(self) -> int:
        """Events and deliveries that are not stored yet, about."""
        return (
            self._inbox.qsize()
            + len(self._delivery.undelivered.queue)
            + len(self._delivery.undelivered.spill)
        )

    def after_fork(self) -> None:
        """Forget what belongs to the parent process, which goes on delivering it."""
        self._delivery.abandon()
        self._begin(self.settings)

    def _spill_now(self, timeout: float) -> None:
        spilled = SpillNow()
        self._inbox.put(spilled)
        spilled.passed.wait(timeout)

    def _connect(self, timeout: float) -> None:
        """Have the thread connect, and wait for it; not in an outage."""
        if self._delivery.outage_since is not None or not self._enabled:
            return
        barrier = Connect()
        self._inbox.put(barrier)
        if self._thread is None:
            self._start()
        barrier.passed.wait(timeout)

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
                with self._delivery.turn:
                    self._delivery.round()
                if self._delivery.closing and not self._delivery.work_left:
                    return
            except Exception:
                logger.exception("unexpected error in the spool client, it continues")
                time.sleep(RETRY_FIRST)

    # In the watch.

    def _look(self) -> None:
        """Write unanswered deliveries to disk when their answer is late, and newer events too."""
        me = threading.current_thread()
        while self._watch is me:
            if not self._delivery.turn.await_asking(LATE / 2):
                continue
            try:
                with self._delivery.turn:
                    self._delivery.copy_if_late()
            except Exception:
                logger.exception("unexpected error in the spool client's watch, it continues")


_all_clients: weakref.WeakSet[SpoolClient] = weakref.WeakSet()
_clients: dict[tuple[Any, ...], SpoolClient] = {}
_clients_lock = threading.Lock()
_latest: tuple[Settings, SpoolClient] | None = None  # whose settings asked last, and its client


def get_client(settings: Settings | None = None) -> SpoolClient:
    """This process's client for the configured database; made at first use, starts no thread."""
    global _latest
    settings = settings or get_settings()
    if _latest is not None and _latest[0] is settings:  # making the key takes longer than all else
        return _latest[1]
    secret = settings.database_url.get_secret_value() if settings.database_url else None
    token = settings.run_token.get_secret_value() if settings.run_token else None
    by_panel = (settings.panel_url, token) if token else None
    key = (secret, settings.database_schema, settings.data_dir, by_panel)
    client = _clients.get(key)
    if client is None:
        with _clients_lock:
            client = _clients.setdefault(key, SpoolClient(settings))
    _latest = (settings, client)
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
