"""What every response carries, and what happens when a handler raises what nobody foresaw."""

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kodosumi_prefect.panel.errors import error_response, unforeseen_response

# Pages hold texts that agents wrote. Nothing of them may run, load or send anything.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_foreign(request: Request) -> bool:
    """Whether a browser sends this for a page of somebody else.

    Nothing but browsers sends these headers, so command lines and services pass.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return False
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


class Shield:
    """ASGI middleware: security headers, no changes from other sites, unforeseen errors as JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def shielded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                caching = "no-cache" if scope["path"].startswith("/static/") else "no-store"
                headers.setdefault("Cache-Control", caching)
            await send(message)

        if is_foreign(Request(scope)):
            detail = "a page of another site sent this; open the panel itself"
            await error_response(Request(scope), 403, detail)(scope, receive, shielded)
            return
        try:
            await self._app(scope, receive, shielded)
        except Exception as exc:
            if started:
                raise
            response = unforeseen_response(Request(scope), exc)
            await response(scope, receive, shielded)
