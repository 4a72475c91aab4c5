"""Against web pages that let their own name resolve to this machine (DNS rebinding)."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from kodosumi_prefect.panel.web.errors import error_response
from kodosumi_prefect.panel.web.networks import Networks
from kodosumi_prefect.panel.web.proxy import is_loopback_name
from kodosumi_prefect.settings import Settings


class OwnNamesOnly:
    """ASGI middleware for a panel that listens on this machine only: requests that name it so.

    A page elsewhere whose name resolves to 127.0.0.1 could read what is open to programs on this
    machine, and sign in as whoever it knows a password of; the Host header reveals it. Under
    ``panel_url`` the panel may be found as well, and behind ``proxy_networks`` under any name.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._extra = urlsplit(settings.panel_url or "").hostname
        self._proxies = Networks(settings.proxy_networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            host = request.headers.get("host", "")
            peer = request.client.host if request.client else ""
            if not self._is_ours(host) and peer not in self._proxies:
                detail = f"the Host header is {host[:80]!r}; open localhost, or set panel_url"
                await error_response(request, 421, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        if is_loopback_name(host):
            return True
        try:
            return self._extra is not None and urlsplit(f"//{host}").hostname == self._extra
        except ValueError:
            return False
