"""What every response carries, and how unforeseen errors of handlers are answered."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kodosumi_prefect.panel.web.errors import error_response, unforeseen_response
from kodosumi_prefect.panel.web.proxy import own_path
from kodosumi_prefect.vocabulary import FOREIGN_SCOPE

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
    """Whether a browser sends this for a page of another site, one of ``cors_origins`` then."""
    return bool(request.scope.get(FOREIGN_SCOPE))


def _from_elsewhere(request: Request, own: str) -> bool:
    """Whether a browser sends this for a page of somebody else.

    Nothing but browsers sends these headers, so command lines and services pass. Where a browser
    says itself whose page it is (``Sec-Fetch-Site``), that counts: a reverse proxy may have changed
    the name that the page's origin would be compared with.
    """
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    if (origin := request.headers.get("origin")) is None:
        return False
    try:
        name = urlsplit(origin).netloc
    except ValueError:
        return True
    return not name or name not in (request.headers.get("host"), own)


def _changes(request: Request) -> bool:
    return request.method not in ("GET", "HEAD", "OPTIONS") or own_path(request.scope) == "/logout"


class Shield:
    """ASGI middleware: security headers, no changes from other sites, unforeseen errors as JSON.

    Arguments:
        cors_origins: of whose pages requests are let in, marked as foreign.
        panel_url: where people reach the panel.
    """

    def __init__(self, app: ASGIApp, cors_origins: Sequence[str] = (), panel_url: str = "") -> None:
        self._app = app
        self._allowed = frozenset(cors_origins)
        self._own = urlsplit(panel_url).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        # Read now: what is mounted changes the scope.
        caching = "no-cache" if own_path(scope).startswith("/static/") else "no-store"

        async def shielded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", caching)
            await send(message)

        request = Request(scope)
        if _from_elsewhere(request, self._own):
            scope[FOREIGN_SCOPE] = (
                request.headers.get("origin") in self._allowed or "*" in self._allowed
            )
            if not scope[FOREIGN_SCOPE] and _changes(request):
                detail = "a page of another site sent this; open the panel itself"
                await error_response(request, 403, detail)(scope, receive, shielded)
                return
        try:
            await self._app(scope, receive, shielded)
        except Exception as exc:
            if started:
                raise
            response = unforeseen_response(Request(scope), exc)
            await response(scope, receive, shielded)
