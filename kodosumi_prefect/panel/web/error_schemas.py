"""Errors in the panel's OpenAPI document: one shape, each where it can occur."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from kodosumi_prefect.panel.accounts.gate import OPEN
from kodosumi_prefect.panel.accounts.permissions import current_user, operator


class Problem(BaseModel):
    """Why a request failed."""

    error: str = Field(description="The status in words.")
    path: str
    detail: str = Field(description="What is wrong, and what to do about it.")
    status_code: int


MEANINGS = {
    400: "The body cannot be read.",
    401: "Nobody is signed in, or the session has ended.",
    403: "Not allowed to this account, or a page of another site sent it.",
    404: "It does not exist, or this account may not see it.",
    405: "The endpoint has no such method.",
    408: "The body came too slowly.",
    409: "It conflicts with the current state.",
    411: "The body's length is missing.",
    413: "The body is too large.",
    415: "The body is of a type that is not accepted here.",
    416: "The range begins behind the end of the file.",
    422: "The request does not match what is described here.",
    429: "Too many requests or streams; `Retry-After` says when to try again.",
    500: "A fault of the panel; its log has it under the id in `detail`.",
    502: "Prefect or a service answers with a failure.",
    503: "Postgres, or Prefect where it is needed, does not answer.",
    504: "A service does not answer in time.",
}

_SCHEMA = {"$ref": "#/components/schemas/Problem"}
_UNUSED = ("HTTPValidationError", "ValidationError")
_ALONE = {"/livez", "/openapi.json"}  # answer whatever happens elsewhere


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For ``responses=`` of a route: errors that it alone knows it can answer."""
    return {code: {"description": MEANINGS[code]} for code in codes}


def answers(model: type[BaseModel], code: int = 200) -> dict[int | str, dict[str, Any]]:
    """For ``responses=`` of a route: what it answers, which its handler makes as plain JSON."""
    return {code: {"model": model, "description": (model.__doc__ or "").strip()}}


def install(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Add the errors of each operation to ``app``'s document.

    Those that come from what all routes share are found by what a route depends on: who is signed
    in, of which rank, what is read from the request. Those that are its own it names by
    ``problems``.
    """
    plain = app.openapi
    routes = {
        (route.path_format, method): route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(routes, plain())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(routes: Mapping[tuple[str, str], APIRoute], document: dict[str, Any]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _UNUSED:
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            for code in _shared(routes[path, method.upper()], method.upper()):
                responses.setdefault(str(code), {"description": MEANINGS[code]})
            for code, answer in responses.items():
                if code == "422" or (int(code) >= 400 and "content" not in answer):
                    answer["description"] = MEANINGS[int(code)]
                    answer["content"] = {"application/json": {"schema": _SCHEMA}}
                for content in answer.get("content", {}).values():
                    schema = content.get("schema", {})
                    if "$ref" in schema:  # of ``answers``; the rest is what the handler returns
                        content["schema"] = {"$ref": schema["$ref"]}
            operation["responses"] = dict(sorted(responses.items()))


def _shared(route: APIRoute, method: str) -> Iterator[int]:
    calls = {each.call for each in _all(route.dependant)}
    if current_user in calls:
        yield 401
    if operator in calls or method != "GET":
        yield 403
    if route.path_format not in _ALONE:
        yield 503
    if route.path_format not in OPEN and current_user not in calls:
        yield 401
    if any(each.path_params for each in _all(route.dependant)):
        yield 404
    if any(each.query_params or each.body_params for each in _all(route.dependant)):
        yield 422


def _all(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _all(each)
