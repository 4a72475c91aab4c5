"""Connections to the panel: how many there may be, and how long one may be idle.

uvicorn waits for a request for as long as it takes, and takes on as many connections as come.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import Any

from kodosumi_prefect.panel.web.networks import source_of

HEAD_TIMEOUT = 10.0  # seconds that a request's line and headers may take
SWEEP = 1.0  # seconds between looks for connections that take longer
OTHER_FILES = 256  # open files of a panel that are no connections of clients


class Connections:
    """The open connections of a server.

    Beyond ``most``, each new one costs whoever holds most of them one: of those without a request
    the oldest, else itself, or the oldest of a stranger. So nobody who holds few is shut out by
    somebody who holds many.

    Arguments:
        most: connections at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sources: dict[str, dict[Any, _Wait]] = {}  # oldest first
        self._known: dict[Any, str] = {}  # the source of each

    def __len__(self) -> int:
        return len(self._known)

    def came(self, protocol: Any) -> None:
        """A connection was made."""
        source = source_of(protocol.client[0] if protocol.client else "")
        self._sources.setdefault(source, {})[protocol] = _Wait(protocol)
        self._known[protocol] = source
        if len(self) > self._most:
            self._make_room(protocol, source)

    def left(self, protocol: Any) -> None:
        """A connection has ended."""
        source = self._known.pop(protocol, None)
        if source is None:
            return
        del self._sources[source][protocol]
        if not self._sources[source]:
            del self._sources[source]

    async def watch(self) -> None:
        """As long as this runs, close connections whose request takes too long."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SWEEP)
            for those in list(self._sources.values()):
                for protocol, wait in list(those.items()):
                    if wait.seconds(clock()) > HEAD_TIMEOUT:
                        protocol.transport.abort()

    def _make_room(self, newcomer: Any, source: str) -> None:
        greatest = max(self._sources, key=lambda one: len(self._sources[one]))
        those = self._sources[greatest]
        idle = (one for one in those if one is not newcomer and not _is_busy(one))
        leaving = next(idle, None)
        if leaving is None:
            rivals = len(those) == len(self._sources[source])
            leaving = newcomer if greatest == source or rivals else next(iter(those))
        leaving.transport.abort()
        self.left(leaving)


class _Wait:
    """For how long a connection has been waiting for a request."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._cycle: Any = None
        self._since: float | None = None

    def seconds(self, now: float) -> float:
        """Seconds since it was first seen so; 0 if a request is being answered."""
        cycle = self._protocol.cycle
        if _is_busy(self._protocol):
            self._since = None
        elif self._since is None or cycle is not self._cycle:
            self._since = now
        self._cycle = cycle
        return 0.0 if self._since is None else now - self._since


def _is_busy(protocol: Any) -> bool:
    """Whether there is a request whose answer has not gone out."""
    cycle = protocol.cycle
    answering = cycle is not None and not cycle.response_complete
    return answering or protocol.transport.get_write_buffer_size() > 0


class _Counted(asyncio.Protocol):
    """Mixin of uvicorn's protocols: reports its beginning and end to its ``door``.

    It logs no requests: addresses hold the tokens of links. uvicorn would log them as soon as
    somebody configures logging after it, as Prefect does.
    """

    door: Connections
    access_log: bool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.access_log = False
        super().connection_made(transport)
        self.door.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.left(self)
        super().connection_lost(exc)


def counted(protocol: Callable[..., Any], connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's protocol class, whose connections are counted."""
    return type("Counted", (_Counted, protocol), {"door": connections})  # type: ignore[arg-type]


def most_connections(connections: int) -> int:
    """How many connections there can be, as many open files being allowed as that takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(allowed - OTHER_FILES, 16)
