"""Who may come in: every address is closed but the few listed here."""

from urllib.parse import quote

import psycopg
from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from kodosumi_prefect.files.tokens import TOKEN_HEADER
from kodosumi_prefect.panel.accounts.identification import Identification, RefusedNameError
from kodosumi_prefect.panel.web.errors import database_response, error_response, refusal_response
from kodosumi_prefect.panel.web.proxy import ANSWER_FOLDER, is_local, own_path
from kodosumi_prefect.vocabulary import API_KEY_HEADER, KEY_PATH, SIGNATURE_HEADER

OPEN = frozenset(
    {
        "/livez",
        "/readyz",
        "/login",
        "/api/login",
        "/logout",
        "/docs",
        "/openapi.json",
        "/schema",
        "/schema/openapi.json",
        KEY_PATH,
        # Their handlers ask for a token of an execution.
        *("/ingest", "/ingest/heartbeat", "/ingest/hello", "/ingest/standing"),
    }
)
SPANS = "/v1/traces"
OPEN_FOLDERS = (
    "/static/",
    ANSWER_FOLDER,
)  # answers come with a token, which their handler asks for
OPEN_HERE = frozenset({"/health", "/metrics"})  # to programs on the panel's own machine


class Gate:
    """ASGI middleware: no handler of a closed address runs for somebody who is not signed in.

    It leaves a ``User`` in ``request.state.user``, and how it is known in ``request.state.means``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (
            _is_open(scope) or _is_handed_back(scope) or _is_of_run(scope)
        ):
            request = Request(scope)
            identification = scope["app"].state.panel.identification
            assert isinstance(identification, Identification)
            try:
                caller = await identification.caller(request)
            except psycopg.OperationalError as exc:
                await database_response(request, exc)(scope, receive, send)
                return
            except RefusedNameError as exc:
                await refusal_response(request, exc)(scope, receive, send)
                return
            if caller is None:
                to_login = identification.settings.auth == "password" and _wants_page(request)
                response = _to_login(request) if to_login else _refused(request)
                await response(scope, receive, send)
                return
            request.state.user = caller.user
            request.state.means = caller.means
        await self._app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    path = own_path(scope)
    return path in OPEN or path.startswith(OPEN_FOLDERS) or (path in OPEN_HERE and is_local(scope))


def _is_handed_back(scope: Scope) -> bool:
    """Whether a service asks about a lock with our own signature, which the handler checks."""
    path = own_path(scope)
    about_lock = path.startswith("/lock/") and path.endswith("/facts")
    return about_lock and SIGNATURE_HEADER in Request(scope).headers


def _is_of_run(scope: Scope) -> bool:
    """Whether a process of a run comes with its token, which the handler checks."""
    path = own_path(scope)
    reads = path.startswith("/files/") and scope["method"] in ("GET", "HEAD")
    if path.startswith("/run-files/"):
        return True
    return (reads or path == SPANS) and TOKEN_HEADER in Request(scope).headers


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _refused(request: Request) -> Response:
    response = error_response(request, 401, f"sign in, or send the header {API_KEY_HEADER}")
    response.headers["WWW-Authenticate"] = "APIKey"
    return response


def _to_login(request: Request) -> Response:
    target = f"{request.scope.get('root_path', '')}/login"
    if request.method in ("GET", "HEAD"):
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target += f"?redirect={quote(path, safe='/')}"
    return RedirectResponse(target, 303)
