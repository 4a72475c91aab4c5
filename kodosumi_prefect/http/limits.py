"""Bounds on the size and slowness of requests: nothing behind them has to read more."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

KIB, MIB = 1024, 1024 * 1024
GRACE = 10.0  # seconds that any body may take
SLOWEST = 4 * KIB  # bytes a second that a longer one has to come with
SILENCE = 60.0  # seconds without a byte, however fast all before came; its sender may have gone
SMALL = 64 * KIB  # bytes that a server takes in by itself
LINGER = 1.0  # seconds for which unwanted bytes are still read
LINGER_BYTES = MIB  # bytes of those, by default

Refuse = Callable[[Request, int, str], Response]


class BodyLimit:
    """ASGI middleware: bodies up to a size, chunked ones too, that come in a reasonable time.

    What is too large is answered with 413, what trickles in with 408, and the connection is closed
    after it. Only time spent on waiting for the client counts. A handler whose request has been
    given up sees that its client is gone.

    Arguments:
        largest: bytes that a request of this scope may have.
        refuse: makes the answer of a status and a reason.
        linger: bytes of what nobody wants that are still taken off the wire, so that who sends them
            comes to read the answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        largest: Callable[[Scope], int],
        refuse: Refuse,
        linger: int = LINGER_BYTES,
    ) -> None:
        self._app = app
        self._largest = largest
        self._refuse = refuse
        self._linger = linger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, scope, self._largest(scope), self._linger)
        answer = _Answer(body, send, str(scope.get("http_version", "1.1")))
        if not answer.is_ours():
            try:
                await self._app(scope, body.receive, answer.send)
            except Exception:
                if not answer.is_ours():
                    raise
        if body.trouble is not None and answer.is_ours():
            response = self._refuse(Request(scope), body.trouble, body.reason)
            await response(scope, receive, answer.refuse)


class _Body:
    """A request's body on its way in.

    Attributes:
        trouble: the status that it is refused with; None as long as nothing is wrong.
        whole: nothing more comes.
    """

    def __init__(self, receive: Receive, scope: Scope, largest: int, linger: int) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        declared = int(length[:19]) if length.isdigit() else 0
        self.long = declared > SMALL or b"transfer-encoding" in headers
        self.trouble: int | None = 413 if declared > largest else None
        self.whole = False
        self._receive = receive
        self._largest = largest
        self._linger = linger
        self._bytes = 0
        self._waited = 0.0  # seconds

    @property
    def reason(self) -> str:
        """Why it is refused."""
        if self.trouble == 408:
            slow = f"with less than {SLOWEST // KIB} KB in a second"
            return f"the body came {slow}, or not on for {SILENCE:.0f} s; send it again"
        size = self._largest
        limit = f"{size // MIB} MB" if size >= MIB else f"{size // KIB} KB"
        return f"the body is larger than {limit}; send files as files"

    async def receive(self) -> Message:
        """For ASGI: what comes, and nothing after it is too much or took too long."""
        if self.whole:
            return await self._receive()
        if self.trouble is not None:
            return {"type": "http.disconnect"}
        clock = asyncio.get_running_loop().time
        began = clock()
        left = min(GRACE + self._bytes / SLOWEST - self._waited, SILENCE)
        try:
            async with asyncio.timeout(left):
                message = await self._receive()
        except TimeoutError:
            self.trouble = 408
            return {"type": "http.disconnect"}
        self._waited += clock() - began
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._largest:
            self.trouble = 413
            return {"type": "http.disconnect"}
        self.whole = not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Take what still comes off the wire, for a moment: hung up on, clients see no answer."""
        discarded = 0
        try:
            async with asyncio.timeout(LINGER):
                while discarded <= self._linger and not self.whole:
                    message = await self._receive()
                    discarded += len(message.get("body", b""))
                    self.whole = not message.get("more_body", False)
        except TimeoutError:
            pass


class _Answer:
    """Hands on what is answered; nothing of a handler whose request was given up."""

    def __init__(self, body: _Body, send: Send, version: str) -> None:
        self._body = body
        self._send = send
        self._one_by_one = version.startswith("1")  # requests share a connection in turns
        self._closing = False
        self.started = False

    def is_ours(self) -> bool:
        """Whether a refusal is to be answered, in place of what a handler says."""
        return self._body.trouble is not None and not self.started

    async def send(self, message: Message) -> None:
        if not self.is_ours():
            await self.refuse(message)

    async def refuse(self, message: Message) -> None:
        """Hand on a message; what comes in beside it is left unread then, and not for long."""
        if message["type"] == "http.response.start":
            self.started = True
            self._closing = self._body.long and not self._body.whole
            if self._one_by_one and (self._closing or self._body.trouble is not None):
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not (last and self._closing) or self._body.whole or self._body.trouble == 408:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._body.discard()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
