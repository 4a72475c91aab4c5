"""A request's body on its way to a service, and whether the one who sends it is still there."""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Message, Receive, Scope

LARGEST = 16 * 1024 * 1024  # bytes of a request's body; files take another way


class Incoming:
    """What comes in with a request.

    Arguments:
        scope, receive: of the request, of which nothing was read yet.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        self.has_body = b"transfer-encoding" in headers or length != b"0"
        self._receive = receive
        self._length = int(length) if length.isdigit() and len(length) < 20 else 0
        self._begun: list[bytes] = []  # what `beginning` has read, for `body`
        self._bytes = 0
        self._read = asyncio.Event()  # all of the body
        self._gone = asyncio.Event()
        self._too_large = asyncio.Event()
        if self._length > LARGEST or len(length) >= 20:
            self._too_large.set()
        if not self.has_body:
            self._read.set()

    async def beginning(self, most: int) -> bytes | None:
        """The body, which ``body`` still yields; None if it has more than ``most`` bytes."""
        if self._length > most:
            return None
        while not self._read.is_set() and self._bytes <= most:
            self._begun.append((await self.receive()).get("body", b""))
        return b"".join(self._begun) if self._bytes <= most else None

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece; it does not end if it is too large or breaks off."""
        for piece in self._begun:
            yield piece
        while not self._read.is_set():
            yield (await self.receive()).get("body", b"")

    async def receive(self) -> Message:
        """For ASGI: the body, and after it nothing until the sender is gone."""
        if self._read.is_set():
            if not self.has_body:
                self.has_body = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone.set()
            await asyncio.Future()  # until this is cancelled
        self._bytes += len(message.get("body", b""))
        if self._bytes > LARGEST:
            self._too_large.set()
            await asyncio.Future()
        if not message.get("more_body", False):
            self._read.set()
        return message

    async def until_gone(self) -> None:
        """Return once the sender is gone. Something else has to read the body meanwhile."""
        reading = asyncio.ensure_future(self._read.wait())
        breaking = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({reading, breaking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            breaking.cancel()
        while not self._gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._gone.set()

    async def until_too_large(self) -> None:
        """Return once the body is known to be larger than may be."""
        await self._too_large.wait()
