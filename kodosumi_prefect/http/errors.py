"""Errors of a service as JSON of one shape, without tracebacks."""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.events import clean
from kodosumi_prefect.forms import InputsError
from kodosumi_prefect.forms.errors import GENERAL
from kodosumi_prefect.http.identity import ServiceCaller
from kodosumi_prefect.vocabulary import CALLER_SCOPE, SECRETS_SCOPE

logger = logging.getLogger(__name__)

MASK = "********"


def json_error(
    request: Request, status_code: int, detail: Any, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """``{"error","path","detail","status_code"}``, as the panel answers."""
    body = {
        "error": HTTPStatus(status_code).phrase,
        "path": request.url.path,
        "detail": clean(detail) if isinstance(detail, str) else detail,
        "status_code": status_code,
    }
    return JSONResponse(body, status_code, headers)


def unforeseen_json_error(request: Request, exc: Exception) -> JSONResponse:
    """A 500 whose id finds the traceback in the service's log, secrets masked.

    Operators, and whoever calls the service without a panel from a network that it trusts, read
    type and message as well; of a ``KodosumiError`` everybody reads the message.
    """
    number = uuid4().hex[:12]
    text = _masked(request, "".join(traceback.format_exception(exc)).rstrip())
    logger.error("error %s at %s\n%s", number, request.url.path, text)
    caller = request.scope.get(CALLER_SCOPE)
    line = _masked(request, error_line(exc))
    meant_for_people = isinstance(exc, KodosumiError)
    if isinstance(caller, ServiceCaller) and caller.operator:
        line = f"{type(exc).__name__}: {line}" if meant_for_people else line
        detail = f"{line} (error {number} in the service's log)"
    elif meant_for_people:
        detail = line
    else:
        detail = f"unexpected error {number}, described in the service's log"
    return json_error(request, 500, detail)


def _masked(request: Request, text: str) -> str:
    for secret in sorted(request.scope.get(SECRETS_SCOPE) or (), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def error_fields(error: InputsError) -> dict[str, list[str]]:
    """An ``InputsError`` as it is sent: messages by field, and those without one."""
    errors = {name: [str(one) for one in messages] for name, messages in error.errors.items()}
    return errors | {GENERAL: errors.get(GENERAL, [])}
