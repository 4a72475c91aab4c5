"""Serving the panel: where it may listen, and how it stops while streams are open."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.panel.web.app import PanelError, create_app
from kodosumi_prefect.panel.web.connections import Connections, counted, most_connections
from kodosumi_prefect.panel.web.hosts import OwnNamesOnly
from kodosumi_prefect.panel.web.networks import address_of
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.settings import Settings, http_url

STOP_TIMEOUT = 5  # seconds for answers under way when the panel stops
BACKLOG = 512  # connections waiting to be accepted
PLAIN = (
    "the panel listens on %s with plain http: passwords and keys can be read on the way; put a "
    "reverse proxy with https before it and set panel_url to its address"
)

Beside = Callable[[State], Coroutine[Any, Any, None]]

logger = logging.getLogger(__name__)

__all__ = ["Beside", "PanelError", "run", "serve"]


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[str], None] | None = None,
    app: FastAPI | None = None,
    say: Callable[[str], None] | None = None,
    beside: Beside | None = None,
) -> None:
    """Serve the panel in the running event loop until ``stop`` is set.

    Prints nothing and handles no signals. Open event streams end at once when it stops.

    Example:
        ```python
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        await serve(settings, stop=stop, on_ready=lambda url: print("ready", url))
        ```

    Arguments:
        settings: ``host`` and ``port`` say where; port 0 takes a free one.
        stop: set it to stop; cancelling does the same.
        on_ready: called with the panel's URL once it accepts requests.
        app: default ``create_app(settings)``.
        say: told the first operator's password and the like, once; default stderr.
        beside: work that begins once it accepts requests, and ends with it.

    Raises:
        PanelError: in one line, why it does not start: the address is none of this machine's or
            taken, the database is away or its schema too old.
    """
    listener = listen(settings.host, settings.port)
    try:
        app = app or create_app(settings, say=say)
        served = app if _others_reach(listener) else OwnNamesOnly(app, settings)
        if served is app and not (settings.panel_url or "").startswith("https://"):
            logger.warning(PLAIN, settings.host)
        async with app.router.lifespan_context(app):
            state = app.state.panel
            assert isinstance(state, State)
            server = _Server(served, state, most_connections(settings.connections))
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="panel")
            stopping = asyncio.create_task(stop.wait(), name="panel-stop")
            try:
                await server.ready.wait()
                if (failed := state.services.failed) and say is not None:
                    all_ = len(state.services.mounted)
                    say(f"{all_ - len(failed)} of {all_} services: {'; '.join(failed.values())}")
                if on_ready is not None:
                    on_ready(http_url(settings.host, listener.getsockname()[1]))
                working = None if beside is None else asyncio.create_task(_logged(beside(state)))
                try:
                    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if working is not None:
                        await cancel_all([working])
            finally:
                stopping.cancel()
                server.should_exit = True
                await serving
    finally:
        listener.close()


def run(
    settings: Settings,
    on_ready: Callable[[str], None] | None = None,
    say: Callable[[str], None] | None = None,
    beside: Beside | None = None,
) -> None:
    """Serve the panel in this process until Ctrl-C or SIGTERM; blocks, for the main thread.

    Raises:
        PanelError: as ``serve``.
    """

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(settings, stop=stop, on_ready=on_ready, say=say, beside=beside)

    asyncio.run(until_signalled())


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """Do something that must not end the panel."""
    try:
        await work
    except Exception:
        logger.exception("unexpected error in work beside the panel, which goes on")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        PanelError: ``host`` is no address of this machine, or the port is taken.
    """
    family, address = _resolved(host)
    # By its protocol asyncio knows that it may send small packets at once: without it, each answer
    # waits up to 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise PanelError(
            f"port {port} on {host} cannot be listened on ({exc.strerror}); choose another with "
            "--port or --host, or stop what uses it"
        ) from exc
    listener.setblocking(False)
    return listener


def _resolved(host: str) -> tuple[socket.AddressFamily, str]:
    """The address to bind for ``host``."""
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError) as exc:
        raise PanelError(f"host is {host!r}, which cannot be resolved; use 127.0.0.1") from exc
    if not addresses:
        raise PanelError("host is ''; use 127.0.0.1, or 0.0.0.0 for all addresses")
    return min((family, str(address[0])) for family, _, _, _, address in addresses)


def _others_reach(listener: socket.socket) -> bool:
    address = address_of(listener.getsockname()[0])
    return address is None or not address.is_loopback


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, which ends event streams before it waits for answers."""

    def __init__(self, app: ASGIApp, state: State, most: int) -> None:
        self._connections = Connections(most)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",  # serve() runs it, so that its errors reach the caller
                ws="none",
                http=counted(AutoHTTPProtocol, self._connections),
                timeout_graceful_shutdown=STOP_TIMEOUT,
                server_header=False,
                proxy_headers=False,  # uvicorn would believe every program on this machine
            )
        )
        self.ready = asyncio.Event()
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watching = asyncio.create_task(self._connections.watch(), name="connections")
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.streams.close()
        await cancel_all([self._watching])
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
