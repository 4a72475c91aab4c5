"""The way to the panel: who asks, what is tried again, and streams that go on."""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.client.errors import (
    UnreachableError,
    is_of_panel,
    refusal_of,
    retry_after,
)
from kodosumi_prefect.client.sse import Reader, ServerSent
from kodosumi_prefect.refusals import (
    LateError,
    RefusedError,
    TooManyError,
    UnavailableError,
    UpstreamError,
)
from kodosumi_prefect.vocabulary import API_KEY_HEADER

SILENCE = 45.0  # seconds after which a stream is taken for dead; the panel says `alive` every 15
RETRY_FIRST = 0.2  # seconds
RETRY_MOST = 5.0  # seconds
# The connection was not made, so that nothing was done.
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
AWAY = frozenset({502, 503, 504})
PASSING = (UnavailableError, UpstreamError, LateError, TooManyError)
REREAD = frozenset({"GET", "HEAD"})


class Connection:
    """Asks one panel.

    Arguments:
        url: of the panel.
        key: an API key, or a session's token.
        login: name and password, in place of a key.
        timeout: seconds for an answer.
        patience: seconds for which a panel that does not answer is tried again.
        trust_env: whether proxies are taken from the environment, as httpx does.
        verify: certificates: as httpx takes them.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None,
        login: tuple[str, str] | None,
        timeout: float,
        patience: float,
        trust_env: bool,
        verify: ssl.SSLContext | bool,
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._login = login
        self._refused: str | None = None  # the session before this one
        self._signing_in = asyncio.Lock()
        self._patience = patience
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"accept": "application/json"},
            timeout=httpx.Timeout(timeout),
            trust_env=trust_env,
            verify=verify,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        harmless: bool | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Any:
        """What the panel answers, as JSON; None if that is nothing.

        Arguments:
            harmless: whether asking twice does no more than asking once; of reading by default.

        Raises:
            RefusedError: the panel refuses, in its words.
            UnreachableError: it does not answer.
        """
        again = method in REREAD if harmless is None else harmless
        tries = self.tries()
        while True:
            key = await self._signed_in()
            sent = {**(headers or {}), **_named(key)}
            try:
                answer = await self._http.request(method, path, headers=sent, **more)
            except httpx.TransportError as exc:
                if not again and not isinstance(exc, NEVER_SENT):
                    raise self._unreachable(exc) from exc
                await tries.pause(exc)
                continue
            if not answer.is_error:
                return _content(answer)
            if answer.status_code == 401 and self._forget(key):
                continue
            if not _passes(answer, again):
                raise refusal_of(answer)
            await tries.pause(refusal_of(answer), retry_after(answer))

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> AsyncIterator[httpx.Response]:
        """One answer that is read in pieces.

        Raises:
            RefusedError: as ``ask``.
            httpx.TransportError: it breaks off.
        """
        while True:
            key = await self._signed_in()
            sent = {**(headers or {}), **_named(key)}
            async with self._http.stream("GET", path, headers=sent, **more) as answer:
                if answer.is_error:
                    await answer.aread()
                    if answer.status_code == 401 and self._forget(key):
                        continue
                    raise refusal_of(answer)
                _require_here(answer)
                yield answer
                return

    async def events(
        self, path: str, last_id: str, params: Mapping[str, Any]
    ) -> AsyncGenerator[ServerSent]:
        """Server-sent events of a stream that goes on where it broke off, until its reader ends.

        Arguments:
            last_id: of the last event that is known; empty for none.

        Raises:
            RefusedError: as ``ask``.
            UnreachableError: the panel is away for longer than this client's patience.
        """
        tries = self.tries()
        while True:
            reader = Reader(last_id)
            try:
                async with aclosing(self._sent(path, reader, params)) as sent:
                    async for event in sent:
                        tries.succeeded()
                        yield event
                why: Exception = UnavailableError("the stream ended")
            except httpx.TransportError as exc:
                why = exc
            except RefusedError as exc:
                if not isinstance(exc, PASSING):
                    raise
                why = exc
            last_id = reader.id
            await tries.pause(why, getattr(why, "retry_after", None))

    async def _sent(
        self, path: str, reader: Reader, params: Mapping[str, Any]
    ) -> AsyncGenerator[ServerSent]:
        headers = {"accept": "text/event-stream"}
        if reader.id:
            headers["Last-Event-ID"] = reader.id
        timeout = httpx.Timeout(self._http.timeout.connect, read=SILENCE)
        async with self.stream(path, headers=headers, params=params, timeout=timeout) as answer:
            async for piece in answer.aiter_bytes():
                for event in reader.read(piece):
                    yield event

    def tries(self) -> "_Tries":
        """For one thing that is tried until it works."""
        return _Tries(self, self._patience)

    def _unreachable(self, why: BaseException) -> UnreachableError:
        text = " ".join(str(why).split()) or type(why).__name__
        return UnreachableError(f"the panel at {self.url} does not answer ({text})")

    async def _signed_in(self) -> str | None:
        """The key to ask with."""
        if self._key is not None or self._login is None:
            return self._key
        async with self._signing_in:
            if self._key is None:
                self._key = str((await self._session(*self._login))[API_KEY_HEADER])
        return self._key

    async def _session(self, name: str, password: str) -> Any:
        tries = self.tries()
        while True:
            try:
                body = {"name": name, "password": password}
                answer = await self._http.post("/api/login", json=body)
            except httpx.TransportError as exc:
                await tries.pause(exc)
                continue
            if not answer.is_error:
                return _content(answer)
            if not _passes(answer, harmless=True):
                raise refusal_of(answer)
            await tries.pause(refusal_of(answer), retry_after(answer))

    def _forget(self, key: str | None) -> bool:
        """Whether to sign in anew, since the session of a login is over."""
        if self._login is None or key is None or key == self._refused:
            return False
        if self._key == key:
            self._key, self._refused = None, key
        return True


class _Tries:
    """Tries of one thing, with growing pauses, until patience ends."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._backoff = Backoff(RETRY_FIRST, RETRY_MOST, jitter=0.2)
        self._failing_since: float | None = None

    def succeeded(self) -> None:
        """It works."""
        self._failing_since = None
        self._backoff.reset()

    async def pause(self, why: Exception, at_least: float | None = None) -> None:
        """Wait before the next try.

        Raises:
            UnreachableError, RefusedError: there is no patience left; of a refusal itself.
        """
        now = time.monotonic()
        self._failing_since = now if self._failing_since is None else self._failing_since
        pause = max(self._backoff.next(), at_least or 0.0)
        if now + pause > self._failing_since + self._patience:
            if isinstance(why, RefusedError):
                raise why
            raise self._connection._unreachable(why) from why
        await asyncio.sleep(pause)


def _named(key: str | None) -> dict[str, str]:
    return {} if key is None else {API_KEY_HEADER: key}


def _content(answer: httpx.Response) -> Any:
    """The JSON of an answer; None if it has none."""
    _require_here(answer)
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        kind = answer.headers.get("content-type", "something")
        raise RefusedError(
            f"{answer.url} answers {kind} in place of JSON; is this the panel's address?"
        ) from None


def _require_here(answer: httpx.Response) -> None:
    """Raises RefusedError for an address that leads to another one, such as from http to https."""
    if answer.next_request is None:
        return
    here, there = answer.url, answer.next_request.url
    if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
        raise RefusedError(
            f"{here.copy_with(raw_path=b'/')} leads to {there.copy_with(raw_path=b'/')}; give the "
            "panel's own address"
        )


def _passes(answer: httpx.Response, harmless: bool) -> bool:
    """Whether a refusal is one of the moment, and asking again does no harm."""
    if answer.status_code == 429:
        return True  # nothing was done
    if not harmless:
        return False
    if retry_after(answer) is not None:
        return True
    return answer.status_code in AWAY and not is_of_panel(answer)
