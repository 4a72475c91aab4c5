"""What every response carries, and how unforeseen errors of handlers are answered."""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kodosumi_prefect.panel.web.errors import unforeseen_response
from kodosumi_prefect.panel.web.proxy import ANSWER_FOLDER, own_path

# Pages hold texts that agents wrote. Nothing of them may run, load or send anything.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Shield:
    """ASGI middleware: security headers, unforeseen errors as JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        # Read now: what is mounted changes the scope.
        path = own_path(scope)
        caching, holds_token = _caching(path), path.startswith(ANSWER_FOLDER)

        async def shielded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                if holds_token:
                    headers["Referrer-Policy"] = "no-referrer"
                    headers.setdefault("X-Robots-Tag", "noindex")
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", caching)
            await send(message)

        try:
            await self._app(scope, receive, shielded)
        except Exception as exc:
            if started:
                raise
            response = unforeseen_response(Request(scope), exc)
            await response(scope, receive, shielded)


def _caching(path: str) -> str:
    """How long a browser may keep what is at ``path``; fonts carry their version in their names."""
    if path.startswith("/static/fonts/"):
        return "public, max-age=31536000, immutable"
    return "no-cache" if path.startswith("/static/") else "no-store"
