"""Protection against cross-site requests: pages of other sites change nothing."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from kodosumi_prefect.panel.web.errors import error_response
from kodosumi_prefect.panel.web.proxy import ANSWER_FOLDER, own_path
from kodosumi_prefect.vocabulary import FOREIGN_SCOPE


def is_foreign(request: Request) -> bool:
    """Whether a browser sends this for a page of another site, one of ``cors_origins`` then."""
    return bool(request.scope.get(FOREIGN_SCOPE))


class OwnPagesOnly:
    """ASGI middleware: requests that change something are refused if another site's page sent them.

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
        request = Request(scope)
        if _from_elsewhere(request, self._own):
            scope[FOREIGN_SCOPE] = (
                request.headers.get("origin") in self._allowed or "*" in self._allowed
            )
            by_token = own_path(scope).startswith(ANSWER_FOLDER)  # whatever page sent it
            if not (scope[FOREIGN_SCOPE] or by_token) and _changes(request):
                detail = "a page of another site sent this; open the panel itself"
                await error_response(request, 403, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)


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
