"""Errors as JSON of one shape, as pages for people, and never as a traceback."""

import logging
import reprlib
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from kodosumi_prefect.events import clean
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.panel.web.proxy import own_path, public_path
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.refusals import RefusedError

# Paths with these beginnings are for people, and their errors are pages.
PAGES = (
    "/executions",
    "/outputs/html/",
    "/services",
    "/inputs",
    "/waiting",
    "/schedules",
    "/account",
    "/users",
    "/teams",
    "/answer/",
    "/system",
    "/audit",
)

# Where Kodosumi's clients expect 400 of what does not match.
BAD_REQUESTS = ("/role",)
FIDS = ("fid", "from")  # fields and parameters that name executions
# What the parameters of paths are ids of.
NOUNS = {
    "from": "execution",
    "fid": "execution",
    "lid": "lock",
    "uid": "endpoint",
    "schedule_id": "schedule",
    "id": "entry",
    "name": "account",
}

logger = logging.getLogger(__name__)


def error_response(request: Request, status_code: int, detail: str) -> Response:
    """``{"error","path","detail","status_code"}``, or a page where a person asked for a page."""
    error = HTTPStatus(status_code).phrase
    body: dict[str, Any] = {
        "error": error,
        "path": public_path(request.scope),
        "detail": clean(detail),
        "status_code": status_code,
    }
    if _wants_page(request, status_code):
        return page(request, "error.html", body, status_code=status_code)
    return JSONResponse(body, status_code)


def _wants_page(request: Request, status_code: int) -> bool:
    path = own_path(request.scope)
    nothing_there = status_code == HTTPStatus.NOT_FOUND and "endpoint" not in request.scope
    cut_off = status_code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    of_pages = path == "/" or path.startswith(PAGES) or nothing_there or cut_off
    return of_pages and "text/html" in request.headers.get("accept", "")


def refusal_response(request: Request, refusal: RefusedError) -> Response:
    """What a refusal is answered with."""
    response = error_response(request, status_of(refusal), refusal.detail)
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = str(round(refusal.retry_after))
    return response


async def _refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RefusedError)
    return refusal_response(request, exc)


async def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    response = error_response(request, exc.status_code, str(exc.detail))
    response.headers.update(exc.headers or {})
    return response


async def _invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    wrong = exc.errors()
    for error in wrong:
        place, name = error["loc"][0], str((*error["loc"], "")[1])
        is_fid = name in FIDS and error["type"].startswith("uuid")
        if place == "path" or is_fid:  # nothing has an id like that
            noun = NOUNS.get(name, name)
            return error_response(request, 404, f"there is no {noun} {_short(error['input'])}")
    complaints = [_complaint(error) for error in wrong]
    status_code = 400 if own_path(request.scope).startswith(BAD_REQUESTS) else 422
    return error_response(request, status_code, "; ".join(complaints))


def _complaint(error: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"][1:])
    message = f"{error['msg'][:1].lower()}{error['msg'][1:]}"
    # Of a field that is missing the "input" is all that came, passwords included.
    if error["type"] == "missing" or "password" in name or not name:
        return f"{name or 'body'}: {message}"
    return f"{name} is {_short(error.get('input'))}: {message}"


def _short(value: object) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def database_response(request: Request, exc: Exception) -> Response:
    """A 503: Postgres does not answer."""
    reason = str(exc).strip()
    logger.warning(
        "no answer from Postgres for %s: %s", public_path(request.scope), reason, extra=_of(request)
    )
    detail = "Postgres does not answer; nothing is lost, try again when it is back"
    response = error_response(request, 503, detail)
    response.headers["Retry-After"] = "2"
    return response


async def _unstorable(request: Request, exc: Exception) -> Response:
    """The request has values that Postgres refuses for good: NUL characters, endless numbers."""
    reason = " ".join(str(exc).split())[:200]
    logger.warning(
        "refused by Postgres at %s: %s", public_path(request.scope), reason, extra=_of(request)
    )
    return error_response(request, 422, f"a value cannot be stored: {reason}")


async def _no_text(request: Request, exc: Exception) -> Response:
    """The request has half a character in a text, which JSON can name and UTF-8 cannot."""
    if request.method in ("GET", "HEAD"):  # of our own making
        return unforeseen_response(request, exc)
    return await _unstorable(request, exc)


async def _too_deep(request: Request, exc: Exception) -> Response:
    """JSON that is nested too deep to process; its traceback is of no use."""
    if request.method in ("GET", "HEAD"):  # of our own making
        return unforeseen_response(request, exc)
    logger.warning(
        "refused a body that is nested too deep, sent to %s",
        public_path(request.scope),
        extra=_of(request),
    )
    return error_response(request, 422, "body: is nested too deep")


async def _no_database(request: Request, exc: Exception) -> Response:
    return database_response(request, exc)


def unforeseen_response(request: Request, exc: Exception) -> Response:
    """A 500 whose id finds the traceback in the panel's log."""
    number = uuid4().hex[:12]
    where = public_path(request.scope)
    logger.error("error %s at %s", number, where, exc_info=exc, extra=_of(request))
    return error_response(request, 500, f"unexpected error {number}, described in the panel's log")


def _of(request: Request) -> dict[str, str]:
    """Which execution a log line is about, if the request names one."""
    fid = request.path_params.get("fid")
    return {"fid": str(fid)} if fid is not None else {}


def install(app: FastAPI) -> None:
    """Make every error of ``app`` answer in our shape."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(psycopg.OperationalError, _no_database)
    app.add_exception_handler(psycopg.DataError, _unstorable)
    app.add_exception_handler(UnicodeEncodeError, _no_text)
    app.add_exception_handler(RecursionError, _too_deep)
