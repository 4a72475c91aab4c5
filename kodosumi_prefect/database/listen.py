"""The one loop around LISTEN: it connects again, and knows whether notifications arrive."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.connection import (
    BoundedAsyncConnection,
    NoAnswerError,
    connect_listening,
)

PROBE_TIMEOUT = 2.0  # seconds that a notification of our own may take
PROBE_AGAIN = 30.0  # seconds between checks whether notifications still arrive
SEND_AGAIN = 1.0  # seconds after which one that could not be sent is tried again

AWAY = (psycopg.Error, OSError, TimeoutError)

Connection = BoundedAsyncConnection
Follow = Callable[[Connection], Awaitable[None]]
Send = Callable[[Connection, str], Awaitable[object]]


class Listener:
    """Listens to one channel and connects again whenever that breaks off.

    It logs once that it cannot listen, once that it can again, and once that notifications do not
    arrive, as behind a transaction pooler: whoever follows polls as long as ``polling`` is true.

    Arguments:
        channel: of NOTIFY.
        url: where to connect, asked each time, since an embedded Postgres may move; None while
            there is no database.
        what: what is listened for, such as ``"answers to locks"``.
        meanwhile: what happens while it cannot listen.
        poll: seconds between polls where notifications do not arrive.
        backoff: pauses before it connects again.
        send: sends a payload to the channel, to see whether it arrives; on the connection that
            listens, which is handed over, or on another. None: nobody asks.
        once: send one for each connection, before it is followed, and none later.
        logger: for the lines above.

    Attributes:
        connected: whether there is a connection.
        polling: whether notifications do not arrive on it, as far as is known.
        losses: connections that were lost, or closed since they did not answer.
        proven_at: when a notification of our own arrived, by ``time.monotonic``; None if none has.
    """

    def __init__(
        self,
        channel: str,
        url: Callable[[], str | None],
        *,
        what: str,
        meanwhile: str,
        backoff: Backoff,
        poll: float = 0.5,
        send: Send | None = None,
        once: bool = False,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger] | None = None,
    ) -> None:
        self._channel = channel
        self._url = url
        self._what = what
        self._meanwhile = meanwhile
        self._backoff = backoff
        self._poll = poll
        self._send = send
        self._once = once
        self._logger = logger or logging.getLogger(__name__)
        self._probes: dict[str, asyncio.Event] = {}
        self._away_since: float | None = None
        self._warned_of_pooler = False
        self.connected = False
        self.polling = True
        self.losses = 0
        self.proven_at: float | None = None

    async def run(self, follow: Follow, wanted: Callable[[], bool] = lambda: True) -> None:
        """Have each connection in turn followed, for as long as that is ``wanted``.

        Arguments:
            follow: reads a new connection, on which notifications may have been missed; raises
                when it is lost, returns when it is not needed any more.

        Raises:
            DatabaseUrlError: ``url`` is none.
        """
        self._backoff.reset()
        while wanted():
            try:
                if (url := self._url()) is None:
                    raise OSError("there is no database")
                async with await connect_listening(url, self._channel) as connection:
                    await self._follow(connection, follow)
            except AWAY as exc:
                self._lost(exc)
                await self._backoff.sleep()
            finally:
                self._disconnected()

    async def notes(self, connection: Connection) -> AsyncIterator[str]:
        """What others notify of, for as long as the connection works; raises as its ``notes``."""
        async for payload in connection.notes():
            if not self.is_probe(payload):
                yield payload

    def is_probe(self, payload: str) -> bool:
        """Whether a notification is one of our own; counts it as arrived."""
        if (arrived := self._probes.get(payload)) is not None:
            arrived.set()
        return arrived is not None

    async def _follow(self, connection: Connection, follow: Follow) -> None:
        """Follow one connection, and check meanwhile whether notifications arrive on it."""
        probe = f"probe:{uuid4()}"
        arrived = self._probes[probe] = asyncio.Event()
        try:
            if self._send is not None and self._once:
                await self._send(connection, probe)
            self._connected()
            tasks = [asyncio.ensure_future(follow(connection))]
            if self._send is not None:
                proving = self._await(arrived) if self._once else self._prove(connection)
                tasks.append(asyncio.ensure_future(proving))
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                await tasks[0]  # a check that has succeeded ends nothing
            finally:
                await cancel_all(tasks)
        finally:
            self._probes.pop(probe, None)

    async def _await(self, arrived: asyncio.Event) -> None:
        """Wait for a notification of our own, however late it is."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await arrived.wait()
        except TimeoutError:
            self._warn_of_pooler()
            await arrived.wait()
        self._proven()

    async def _prove(self, connection: Connection) -> None:
        """Send ourselves a notification now and then; raises NoAnswerError if they arrived before.

        One that is late does not count; the next one may arrive.
        """
        assert self._send is not None
        while True:
            probe = f"probe:{uuid4()}"
            arrived = self._probes[probe] = asyncio.Event()
            try:
                await self._send(connection, probe)
                async with asyncio.timeout(PROBE_TIMEOUT):
                    await arrived.wait()
            except TimeoutError as exc:
                if not self.polling:
                    raise NoAnswerError("notifications no longer arrive") from exc
                self._warn_of_pooler()
            except psycopg.OperationalError as exc:
                self._logger.debug("cannot send a notification now: %s", exc)
                await asyncio.sleep(min(SEND_AGAIN, PROBE_AGAIN))
                continue
            else:
                self._proven()
            finally:
                self._probes.pop(probe, None)
            await asyncio.sleep(PROBE_AGAIN)

    def _connected(self) -> None:
        self.connected = True
        self._backoff.reset()
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            self._away_since = None
            self._logger.warning("listening for %s again after %.1f s", self._what, away)

    def _lost(self, exc: BaseException) -> None:
        self.losses += self.connected
        self._disconnected()
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._logger.warning(
                "cannot listen for %s now, %s: %s",
                self._what,
                self._meanwhile,
                " ".join(str(exc).split()) or type(exc).__name__,
            )

    def _disconnected(self) -> None:
        self.connected = False
        self.polling = True

    def _proven(self) -> None:
        self.polling = False
        self._warned_of_pooler = False
        self.proven_at = time.monotonic()

    def _warn_of_pooler(self) -> None:
        if not self._warned_of_pooler:
            self._warned_of_pooler = True
            self._logger.warning(
                "notifications of %s do not arrive, probably because the connection goes through a "
                "transaction pooler; polling every %s s. Set database_listen_url to a direct "
                "connection.",
                self._channel,
                self._poll,
            )
