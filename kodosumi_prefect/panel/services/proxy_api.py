"""Endpoints of services, served by the panel in the name of who is signed in."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Scope

from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.http import identity
from kodosumi_prefect.http.body import read_body
from kodosumi_prefect.http.untyped_json import typed
from kodosumi_prefect.panel.accounts.permissions import CurrentUser
from kodosumi_prefect.panel.services import deployment_form
from kodosumi_prefect.panel.services.launch_api import forward_launch, launch_by_key
from kodosumi_prefect.panel.services.launch_keys import checked_key
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.proxy import own_path
from kodosumi_prefect.vocabulary import (
    IDEMPOTENCY_HEADER,
    KEY_PATH,
    LAUNCH_HEADER,
    SCHEDULE_HEADER,
    SCHEDULED_HEADER,
)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

router = APIRouter(tags=["Services"])


def is_forwarded(scope: Scope) -> bool:
    """Whether a request is for a service, which reads it as it was sent."""
    return own_path(scope).startswith("/-/")


@router.get(KEY_PATH, summary="The key that proves to services who calls")
async def key(panel: Panel) -> dict[str, Any]:
    """The public half of the panel's Ed25519 key as a JSON Web Key; for everybody."""
    return identity.public_jwk(panel.services.key)


@router.api_route(
    "/-/{address:path}",
    methods=["GET"],
    summary="An endpoint's form",
    operation_id="endpoint_form",
    responses=problems(400, 404, 405, 413, 415, 502, 504),
)
async def form(
    panel: Panel,
    user: CurrentUser,
    request: Request,
    address: Annotated[str, Path(description="`url` of an endpoint in `GET /flow`, behind `/-/`.")],
) -> Response:
    """`{summary, description, tags, openapi_extra, elements}`, as its service answers it.

    Only registered endpoints are called, with a signature that names the caller. 502 and 504 name
    the service that does not answer. Answers that a browser would run are given as files.
    """
    endpoint = await _endpoint(panel, request, address)
    if endpoint.kind == "prefect":
        return JSONResponse(await deployment_form.describe(endpoint, panel.settings))
    return panel.services.forward(request, user, endpoint)


@router.api_route(
    "/-/{address:path}",
    methods=["POST"],
    summary="Launch an endpoint",
    operation_id="endpoint_launch",
    responses=problems(400, 404, 405, 409, 413, 415, 422, 502, 504),
)
async def launch(
    panel: Panel,
    user: CurrentUser,
    request: Request,
    address: str,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=IDEMPOTENCY_HEADER,
            description="A key of 1 to 255 printable ASCII characters, a fresh one for each launch "
            "that is wanted. Asked again with the same key and body, for 24 hours, the answer is "
            "that of the first run, with the header `kodosumi_repeated`. 422: the key is that of a "
            "launch with another body. 409: that launch is still under way, or nobody knows "
            "whether it began. A launch that was refused leaves its key free.",
        ),
    ] = None,
) -> Response:
    """`{"result": fid, "elements"}`, or `{"errors", "elements"}` if the inputs are invalid.

    504: the service does not answer in time, and no run exists so far. If one does, it is the
    answer.
    """
    endpoint = await _endpoint(panel, request, address)
    if (key := _key(request)) is not None:
        return await launch_by_key(panel, user, request, endpoint, key)
    if endpoint.kind == "prefect":
        schedule = request.headers.get(SCHEDULE_HEADER)
        receive = await typed(request.scope, request.receive)
        posted = await read_body(Request(request.scope, receive))
        answer = await deployment_form.launch(endpoint, posted, schedule, user, panel.settings)
        ids = {SCHEDULED_HEADER: answer.get("schedule"), LAUNCH_HEADER: answer.get("result")}
        return JSONResponse(answer, headers={name: id_ for name, id_ in ids.items() if id_})
    return forward_launch(panel, request, user, endpoint)


@router.api_route("/-/{address:path}", methods=["PUT", "PATCH", "DELETE"], include_in_schema=False)
async def other(panel: Panel, user: CurrentUser, request: Request, address: str) -> Response:
    """For endpoints of other methods."""
    endpoint = await _endpoint(panel, request, address)
    if endpoint.method != request.method or endpoint.kind == "prefect":
        allowed = {"GET", "POST", endpoint.method}
        raise HTTPException(405, "not of this endpoint", {"Allow": ", ".join(sorted(allowed))})
    if (key := _key(request)) is not None:
        return await launch_by_key(panel, user, request, endpoint, key)
    return forward_launch(panel, request, user, endpoint)


def _key(request: Request) -> str | None:
    return checked_key(request.headers.getlist(IDEMPOTENCY_HEADER))


async def _endpoint(panel: Panel, request: Request, address: str) -> RegisteredEndpoint:
    endpoint = await panel.register.endpoint(f"/-/{address}")
    if endpoint is None:
        raise HTTPException(404, f"/-/{address[:200]} is not a registered endpoint; see GET /flow")
    if endpoint.gone:
        raise HTTPException(404, f"/-/{address[:200]} is gone: its source no longer lists it")
    if panel.register.runs_elsewhere(endpoint):
        detail = f"this panel does not run {endpoint.source}; start it with that service"
        raise HTTPException(404, detail)
    return endpoint
