"""Launching an endpoint over HTTP, with and without a key."""

from typing import Any

from fastapi import HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.http.body import digest_of, read_body
from kodosumi_prefect.http.untyped_json import typed
from kodosumi_prefect.launch.starting import new_id
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.audit.recording import journal
from kodosumi_prefect.panel.services import deployment_form
from kodosumi_prefect.panel.services.calls import own_url
from kodosumi_prefect.panel.services.forwarding import LateServiceError
from kodosumi_prefect.panel.services.launch_answer import LaunchAnswer
from kodosumi_prefect.panel.services.launch_keys import AskedLaunch, answer_of
from kodosumi_prefect.panel.web.errors import refusal_response
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.vocabulary import REPEATED_HEADER, SCHEDULE_HEADER


def forward_launch(
    panel: State, request: Request, user: User, endpoint: RegisteredEndpoint
) -> Response:
    """The answer of an endpoint's service to a launch, or that of its run if the service is late.

    Arguments:
        endpoint: of a service, not a Prefect deployment.
    """
    launch_id = new_id()

    async def late(why: LateServiceError) -> Response:
        known = await answer_of(launch_id, why, panel.settings)
        if isinstance(known, LateServiceError):
            return refusal_response(request, known)
        return Response(known.content, known.status, known.headers)

    return panel.services.forward(request, user, endpoint, launch_id, late)


async def launch_by_key(
    panel: State, user: User, request: Request, endpoint: RegisteredEndpoint, key: str
) -> Response:
    """The answer to a launch, or that of the first one with this key.

    Other than without a key, the launch goes on if the client hangs up: it may ask again.

    Raises:
        RefusedError: see ``LaunchKeys.once``.
    """
    try:
        request = Request(request.scope, await typed(request.scope, request.receive))
        body = await request.body()
    except ClientDisconnect as exc:
        raise HTTPException(400, "the body broke off") from exc
    query = request.scope["query_string"].decode("latin-1")
    schedule = request.headers.get(SCHEDULE_HEADER)
    posted = await _posted(request, body)
    digests = panel.launch_keys.digests(request.method, query, schedule, posted)
    asked = AskedLaunch(user.id, endpoint.uid, key, digests)
    services = panel.services

    async def of_service(launch_id: str) -> LaunchAnswer:
        return LaunchAnswer.of_service(
            await services.collect(request, user, endpoint, body, launch_id)
        )

    async def of_deployment(launch_id: str) -> LaunchAnswer:
        fields = await read_body(request)
        return LaunchAnswer.of_fields(
            await deployment_form.launch(
                endpoint, fields, schedule, user, panel.settings, launch_id
            )
        )

    async def heeds() -> bool:
        return await services.heeds_launch_ids(endpoint, user, own_url(request, panel.settings))

    if endpoint.kind == "prefect":
        done = await panel.launch_keys.once(asked, of_deployment)
    else:
        done = await panel.launch_keys.once(asked, of_service, heeds)
    answer = done.answer
    response = Response(answer.content, answer.status, answer.headers)
    if done.repeated:
        journal(request).has_nothing()
        response.headers[REPEATED_HEADER] = "true"
    return response


async def _posted(request: Request, body: bytes) -> Any:
    """The fields, however they are written down; of what are no fields, its hash."""
    try:
        return await read_body(request)
    except HTTPException:
        return digest_of(body)
