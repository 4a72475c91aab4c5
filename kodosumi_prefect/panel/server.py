"""Serving the panel: where it may listen, and how it stops while streams are open."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from kodosumi_prefect.panel.app import PanelError, create_app
from kodosumi_prefect.panel.errors import error_response
from kodosumi_prefect.panel.state import State
from kodosumi_prefect.settings import Settings

STOP_TIMEOUT = 5  # seconds for answers under way when the panel stops
BACKLOG = 512  # connections waiting to be accepted

__all__ = ["PanelError", "run", "serve"]


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[str], None] | None = None,
    app: FastAPI | None = None,
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

    Raises:
        PanelError: in one line, why it does not start: the address is not loopback or taken,
            the database is away or its schema too old.
    """
    listener = listen(settings.host, settings.port)
    try:
        app = app or create_app(settings)
        async with app.router.lifespan_context(app):
            state = app.state.panel
            assert isinstance(state, State)
            server = _Server(_LoopbackOnly(app, settings), state)
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="panel")
            stopping = asyncio.create_task(stop.wait(), name="panel-stop")
            try:
                await server.ready.wait()
                if on_ready is not None:
                    on_ready(_url(settings.host, listener))
                await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                server.should_exit = True
                await serving
    finally:
        listener.close()


def run(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve the panel in this process until Ctrl-C or SIGTERM; blocks, for the main thread.

    Raises:
        PanelError: as ``serve``.
    """

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(settings, stop=stop, on_ready=on_ready)

    asyncio.run(until_signalled())


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on a loopback address.

    Raises:
        PanelError: ``host`` is anything else, or the port is taken.
    """
    family, address = _loopback(host)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise PanelError(
            f"port {port} on {host} cannot be listened on ({exc.strerror}); choose another with "
            "--port, or stop what uses it"
        ) from exc
    listener.setblocking(False)
    return listener


def _loopback(host: str) -> tuple[socket.AddressFamily, str]:
    """The address to bind for ``host``, which must mean this machine only."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise PanelError(f"host is {host!r}, which cannot be resolved; use 127.0.0.1") from exc
    addresses = [(family, str(address[0])) for family, _, _, _, address in found]
    if not all(ipaddress.ip_address(a.partition("%")[0]).is_loopback for _, a in addresses):
        raise PanelError(
            f"host is {host!r}, which other machines can reach, and the panel has no accounts "
            "yet; use 127.0.0.1, and an SSH tunnel from elsewhere"
        )
    return min(addresses)


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, which ends event streams before it waits for answers."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",  # serve() runs it, so that its errors reach the caller
                ws="none",
                timeout_graceful_shutdown=STOP_TIMEOUT,
                server_header=False,
            )
        )
        self.ready = asyncio.Event()
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.streams.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _LoopbackOnly:
    """ASGI middleware: only requests that name this machine.

    A web page elsewhere can let its own name resolve to 127.0.0.1 and so read what a server
    without accounts tells to anybody (DNS rebinding); the Host header gives it away.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._extra = urlsplit(settings.panel_url or "").hostname

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            host = request.headers.get("host", "")
            if not self._is_ours(host):
                detail = f"the Host header is {host[:80]!r}; open localhost, or set panel_url"
                await error_response(request, 421, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name == "localhost" or name.endswith(".localhost") or name == self._extra:
                return True
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False
