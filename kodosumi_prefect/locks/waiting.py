"""Waiting, in a process that runs flows, until locks are settled; from any thread or event loop."""

import asyncio
import logging
import os
import threading
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.settings import Settings, listen_url
from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.spooler.route import Route
from kodosumi_prefect.spooler.transport import Backlog, NoDatabaseError, SpoolerAwayError
from kodosumi_prefect.stream.settled_locks import LINGER, SWEEP, Leases, Settled

if TYPE_CHECKING:
    from kodosumi_prefect.spooler.actor_transport import ActorTransport

TOGETHER = 0.01  # seconds in which locks that are opened at once are gathered
RETRY_FIRST = 0.2  # seconds
RETRY_MOST = 5.0  # seconds
THREAD_NAME = "kodosumi-spool-leases"

logger = logging.getLogger(__name__)


class Waiter:
    """Waits for all open locks of a process, in one thread, which lives while there are any.

    It listens to the database itself, or asks the cluster's Spooler, as events go: one call that
    the Spooler answers when there is something to tell.

    Arguments:
        settings: the database, as far as this process knows it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._id = str(uuid4())
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, Future[Settled]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._route = Route(settings, self._id, Backlog)
        self._leases: Leases | None = None
        self._url: str | None = None

    def wait(self, fid: str, lid: str) -> "Future[Settled]":
        """A future that is done once the lock is no longer open. Call it before opening it."""
        settled: Future[Settled] = Future()
        with self._lock:
            self._open[lid] = (fid, settled)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._changed = asyncio.Event()
                threading.Thread(
                    target=self._work, args=(self._loop,), name=THREAD_NAME, daemon=True
                ).start()
            self._tell()
        return settled

    def forget(self, lid: str) -> None:
        """Nobody waits for this lock any more."""
        with self._lock:
            if self._open.pop(lid, None) is not None:
                self._tell()

    def _tell(self) -> None:
        """Wake the thread; the lock is held, so that its loop is there."""
        if self._loop is not None and self._changed is not None:
            self._loop.call_soon_threadsafe(self._changed.set)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        """Wait as long as locks are open, and a little longer."""
        backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        try:
            while await self._something_open():
                try:
                    for settled in await self._next():
                        self._settle(settled)
                    backoff.reset()
                except _AWAY as exc:
                    if not backoff.failures:
                        reason = " ".join(str(exc).split())
                        logger.warning(
                            "cannot listen for answers to locks now, trying again: %s", reason
                        )
                    await backoff.sleep()
                except Exception:  # whatever it is, runs wait for this thread
                    logger.exception("cannot listen for answers to locks now, trying again")
                    await asyncio.sleep(RETRY_MOST)
        except BaseException:
            logger.exception("the wait for answers to locks ended unexpectedly")
            with self._lock:
                self._loop = self._changed = None
            raise
        finally:
            if self._leases is not None:
                await self._leases.close()
                self._leases = None
            self._route.close()

    async def _something_open(self) -> bool:
        """Whether locks are open; without any, the thread ends after a moment."""
        assert self._changed is not None
        for last_look in (False, True):
            with self._lock:
                if self._open:
                    return True
                if last_look:
                    self._loop = self._changed = None
                    return False
                self._changed.clear()
            try:
                async with asyncio.timeout(LINGER):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return True

    async def _next(self) -> list[Settled]:
        """What is settled next; nothing if other locks are open by then, or after a while."""
        assert self._changed is not None
        await asyncio.sleep(TOGETHER)
        with self._lock:
            self._changed.clear()
            locks = {lid: fid for lid, (fid, _) in self._open.items()}
        if not locks:
            return []
        transport = self._route.transport()
        if transport is self._route.actor and self._route.actor is not None:
            call = asyncio.ensure_future(self._ask(self._route.actor, locks))
        else:
            self._route.close()  # its connection is not needed: this one listens
            leases = await self._listening()
            call = asyncio.ensure_future(leases.settled(locks, SWEEP))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({call, changed}, return_when=asyncio.FIRST_COMPLETED)
            return call.result() if call.done() else []
        finally:
            await cancel_all([call, changed])

    async def _ask(self, actor: "ActorTransport", locks: dict[str, str]) -> list[Settled]:
        return [Settled(*row) for row in await actor.leases(self._id, locks, SWEEP)]

    async def _listening(self) -> Leases:
        url = listen_url(self._settings)
        assert url is not None  # or there would be no way to the database
        if self._leases is None or url != self._url:  # an embedded Postgres may move
            if self._leases is not None:
                await self._leases.close()
            self._leases, self._url = Leases(url, self._settings.database_schema), url
        return self._leases

    def _settle(self, settled: Settled) -> None:
        with self._lock:
            waiter = self._open.pop(settled.lid, None)
        if waiter is not None:
            try:
                waiter[1].set_result(settled)
            except InvalidStateError:
                logger.debug("lock %s was settled while nobody waited", settled.lid)


_AWAY: tuple[type[Exception], ...] = (
    psycopg.Error,
    ProtocolError,
    NoDatabaseError,
    SpoolerAwayError,
    OSError,
)

_waiters: dict[tuple[Any, ...], Waiter] = {}
_waiters_lock = threading.Lock()


def get_waiter(settings: Settings) -> Waiter:
    """This process's waiter for a database; made at first use, starts no thread."""
    secret = settings.database_url.get_secret_value() if settings.database_url else None
    key = (secret, settings.database_schema, settings.data_dir)
    with _waiters_lock:
        if key not in _waiters:
            _waiters[key] = Waiter(settings)
        return _waiters[key]


def _after_fork() -> None:
    """The parent's thread waits on; a child has opened nothing."""
    global _waiters_lock
    _waiters_lock = threading.Lock()
    _waiters.clear()


os.register_at_fork(after_in_child=_after_fork)
