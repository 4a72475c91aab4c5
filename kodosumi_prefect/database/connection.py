"""The only ways to a connection: each uses UTF-8, waits with a bound, and reveals no password.

A connection that is "connected" may be half-open: a load balancer or NAT in between forgot it and
swallows what is sent. Keepalives do not tell, since the near end of it may answer them. So every
question has a bound, and whoever listens asks something now and then.
"""

import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import capabilities
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

from kodosumi_prefect._compat.psycopg import CancellingConnection
from kodosumi_prefect.settings import DatabaseUrlError, database_url_fault

# A connection that is gone must be noticed; what the URL says itself stands.
CONNECTION_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,  # seconds
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
    "application_name": "kodosumi-prefect",
}
ANSWER_TIMEOUT = 10.0  # seconds that a statement may go without a sign of the server
CANCEL_TIMEOUT = 1.0  # seconds for telling a server that its answer is not waited for any more
ROUND_TRIP = 5.0  # seconds between questions on a connection that only listens
ROUND_TRIP_TIMEOUT = 5.0  # seconds that they may take
SECRETS = ("password", "sslpassword")  # of a URL
HIDDEN = "********"

_silences = 0


class NoAnswerError(psycopg.OperationalError):
    """The server was silent for too long; its connection is closed."""


def silences() -> int:
    """How many connections of this process were closed since the server did not answer."""
    return _silences


def conninfo(url: str) -> str:
    """``url`` with our connection defaults where it does not say otherwise, and with UTF-8.

    Raises:
        DatabaseUrlError: it is no URL of a Postgres; the message does not quote it.
    """
    if (fault := database_url_fault(url)) is not None:
        raise DatabaseUrlError(f"the database's URL {fault}")
    named = conninfo_to_dict(url)
    defaults = {k: v for k, v in CONNECTION_DEFAULTS.items() if k not in named}
    # Whatever the role, PGCLIENTENCODING or the URL say: events are UTF-8.
    return make_conninfo(url, **defaults, client_encoding="utf8")


def without_secrets(text: str, url: str) -> str:
    """``text``, such as of libpq, without the secrets that ``url`` holds."""
    try:
        named = conninfo_to_dict(url)
    except psycopg.Error:
        return text
    for name in SECRETS:
        if secret := named.get(name):
            text = text.replace(str(secret), HIDDEN)
    return text


def connect(
    url: str,
    *,
    answer_timeout: float | None = None,
    row_factory: Any = tuple_row,
    application_name: str | None = None,
) -> "BoundedConnection":
    """A connection that commits each statement.

    Arguments:
        answer_timeout: seconds that a statement may go without a sign of the server; default
            ``ANSWER_TIMEOUT``.
        application_name: what the server calls it; default the one of the URL, or ours.

    Raises:
        psycopg.Error: the database refused the connection.
        DatabaseUrlError: ``url`` is none.
    """
    with _telling_no_secrets(url):
        connection = BoundedConnection.connect(
            _named(url, application_name),
            autocommit=True,
            prepare_threshold=None,
            row_factory=row_factory,
        )
    connection.answer_timeout = answer_timeout
    return connection


async def connect_async(
    url: str,
    *,
    answer_timeout: float | None = None,
    row_factory: Any = tuple_row,
    application_name: str | None = None,
) -> "BoundedAsyncConnection":
    """As ``connect``, for event loops."""
    with _telling_no_secrets(url):
        connection = await BoundedAsyncConnection.connect(
            _named(url, application_name),
            autocommit=True,
            prepare_threshold=None,
            row_factory=row_factory,
        )
    connection.answer_timeout = answer_timeout
    return connection


def listening_to(channel: str) -> psycopg.sql.Composed:
    """The statement after which a connection is notified of what is sent to ``channel``."""
    return psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel))


async def connect_listening(url: str, channel: str) -> "BoundedAsyncConnection":
    """A connection that listens to ``channel``; read it with ``notes``."""
    connection = await connect_async(url, answer_timeout=ROUND_TRIP_TIMEOUT)
    try:
        await connection.execute(listening_to(channel))
    except BaseException:
        await connection.close()
        raise
    return connection


class _Patience:
    """Until when a connection waits for the server."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = time.monotonic() + seconds

    def restart(self) -> None:
        self.until = time.monotonic() + self.seconds

    def watch(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run one of psycopg's generators, as long as the server shows signs of life."""
        try:
            waited_for = next(gen)
            while True:
                ready = yield waited_for
                if ready:
                    self.restart()
                elif time.monotonic() > self.until:
                    raise NoAnswerError(f"no answer within {self.seconds:g} s")
                waited_for = gen.send(ready)
        except StopIteration as done:
            return done.value


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that counts as lost when the server leaves a question unanswered for long.

    Attributes:
        answer_timeout: seconds; None for ``ANSWER_TIMEOUT``.
    """

    answer_timeout: float | None = None

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        if "timeout" in kwargs:  # notifications, which may stay away; their caller has a bound
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_patience(self.answer_timeout).watch(gen), *args, **kwargs)
        except NoAnswerError:
            _count()
            self.pgconn.finish()
            raise


class BoundedAsyncConnection(CancellingConnection):
    """As ``BoundedConnection``, for event loops; a cancelled statement ends within two seconds.

    Attributes:
        answer_timeout: seconds; None for ``ANSWER_TIMEOUT``.
        answered_at: when the server was heard last, by ``time.monotonic``.
    """

    answer_timeout: float | None = None
    _patience: _Patience | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.answered_at = time.monotonic()

    async def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        if "timeout" in kwargs:
            return await super().wait(gen, *args, **kwargs)
        self._patience = _patience(self.answer_timeout)
        try:
            answer = await super().wait(self._patience.watch(gen), *args, **kwargs)
        except NoAnswerError:
            _count()
            try:
                await self.cancel_statement(CANCEL_TIMEOUT)  # it may be at work still, for nobody
            finally:
                self.pgconn.finish()
            raise
        self.answered_at = time.monotonic()
        return answer

    async def notes(self, every: float | None = None) -> AsyncGenerator[str, None]:
        """What is notified, for as long as the connection works.

        Arguments:
            every: seconds between questions whether it does; default ``ROUND_TRIP``.

        Raises:
            psycopg.OperationalError: the connection is gone, or was and nobody told.
        """
        while True:
            async for note in self.notifies(timeout=ROUND_TRIP if every is None else every):
                yield note.payload
            await self.execute("SELECT 1")

    async def cancel_statement(self, timeout: float) -> None:
        """Psycopg's own gives a server that is not there 5 s here, and 5 s to end the statement."""
        timeout = min(timeout, CANCEL_TIMEOUT)
        if capabilities.has_cancel_safe():  # else it would block, and for how long nobody knows
            with suppress(psycopg.Error):
                await self.cancel_safe(timeout=timeout)
        if self._patience is not None:
            self._patience.until = time.monotonic() + timeout


def _patience(seconds: float | None) -> _Patience:
    return _Patience(ANSWER_TIMEOUT if seconds is None else seconds)


def _count() -> None:
    global _silences
    _silences += 1


def _named(url: str, application_name: str | None) -> str:
    text = conninfo(url)
    return make_conninfo(text, application_name=application_name) if application_name else text


@contextmanager
def _telling_no_secrets(url: str) -> Iterator[None]:
    """What libpq says while connecting, with the secrets of ``url`` hidden."""
    try:
        yield
    except psycopg.Error as exc:
        message = str(exc)
        harmless = without_secrets(message, url)
        if harmless == message:
            raise
        raise type(exc)(harmless) from None
