"""Posting to receivers that anybody may have named: bounded in time, size and redirects."""

import asyncio
import ssl
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urljoin, urlsplit

import httpcore

from kodosumi_prefect.outbox.outside import Outside, OutsideBackend

CONNECT = 5.0  # seconds for a connection
REDIRECTS = 3
KEPT_CONNECTIONS = 20
KEPT_SECONDS = 30.0  # for which an idle connection is kept
LARGEST_ANSWER = 64 * 1024  # bytes that are read of an answer, so that its connection can be kept
LONGEST_TROUBLE = 300  # characters
SAME_REQUEST = (307, 308)  # redirects that have the body sent there; no other makes sense here


class Posted(NamedTuple):
    """What became of a post.

    Attributes:
        status: of the answer; None without one.
        trouble: why it counts as failed, in one line; None if it was taken.
        retry_after: seconds that the receiver asks to wait.
    """

    status: int | None
    trouble: str | None
    retry_after: float = 0.0


class Poster:
    """Posts JSON, and nothing else; an async context manager.

    No proxy of the environment is used: it would connect to addresses that nobody looked at.

    Arguments:
        outside: which addresses may be connected to.
        timeout: seconds for one post, redirects and all.
    """

    def __init__(self, outside: Outside, timeout: float, connections: int) -> None:
        self._timeout = timeout
        self._backend = OutsideBackend(outside)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=KEPT_CONNECTIONS,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=self._backend,
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._backend.close()
        await self._pool.__aexit__(kind, exc, traceback)

    async def post(self, url: str, headers: dict[str, str], body: str) -> Posted:
        """Post once; whatever goes wrong is in the answer."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._follow(url, headers, body.encode())
        except (TimeoutError, httpcore.TimeoutException):
            return Posted(None, f"it did not answer within {self._timeout:g} s")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as exc:
            reason = " ".join(str(exc).split()) or type(exc).__name__
            return Posted(None, reason[:LONGEST_TROUBLE])
        except (ValueError, httpcore.UnsupportedProtocol) as exc:
            return Posted(None, f"its address cannot be requested: {exc}"[:LONGEST_TROUBLE])

    async def _follow(self, url: str, headers: dict[str, str], body: bytes) -> Posted:
        for _ in range(REDIRECTS + 1):
            answer, location = await self._once(url, headers, body)
            if answer.status not in SAME_REQUEST or location is None:
                return answer
            following = urljoin(url, location)
            if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                return answer._replace(trouble="it redirects from https to what is not")
            url = following
        return answer._replace(trouble=f"it redirects more than {REDIRECTS} times")

    async def _once(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[Posted, str | None]:
        limits = {"connect": CONNECT, "read": self._timeout, "write": self._timeout}
        async with self._pool.stream(
            "POST",
            url,
            headers=list(headers.items()),
            content=body,
            extensions={"timeout": limits | {"pool": self._timeout}},
        ) as response:
            named = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            read = 0
            async for chunk in response.aiter_stream():
                read += len(chunk)
                if read > LARGEST_ANSWER:
                    break
        status = response.status
        trouble = None if 200 <= status < 300 else f"it answered {status}"
        return Posted(status, trouble, _seconds(named.get(b"retry-after"))), named.get(b"location")


def _seconds(text: str | None) -> float:
    """Of a Retry-After in seconds; dates are not followed."""
    return float(text) if text is not None and text.isdecimal() and len(text) < 8 else 0.0
