"""A Prefect deployment as an endpoint: its form, and launching it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from starlette.concurrency import run_in_threadpool

from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.forms import InputsError, Model, from_schema
from kodosumi_prefect.forms.files import SentFiles
from kodosumi_prefect.http.errors import error_fields
from kodosumi_prefect.launch import schedules, sent_files
from kodosumi_prefect.launch.deployment_launch import launch_deployment
from kodosumi_prefect.launch.firing import When
from kodosumi_prefect.launch.masking import mask_inputs
from kodosumi_prefect.launch.parameters import UnheldError
from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.refusals import NotFoundError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import OPENAPI_MARK

Row = dict[str, Any]


async def describe(endpoint: RegisteredEndpoint, settings: Settings) -> dict[str, Any]:
    """The answer to GET: what the deployment is, and its form.

    Raises:
        NotFoundError: it is gone.
        LaunchError: Prefect is away.
    """
    model = _form(await _deployment(endpoint, settings))
    return {
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": endpoint.tags,
        "openapi_extra": {OPENAPI_MARK: True, "x-version": endpoint.version},
        "elements": model.get_model(),
    }


async def launch(
    endpoint: RegisteredEndpoint,
    posted: Row,
    schedule: str | None,
    user: User,
    settings: Settings,
    launch_id: str | None = None,
) -> dict[str, Any]:
    """The answer to POST: a run, or a schedule, or what is wrong.

    Arguments:
        posted: the fields of the form.
        schedule: when, as the header of the request has it; see ``serve.when``.
        launch_id: a random id; asked again with the same one, it is the same run or schedule.

    Raises:
        NotFoundError, LaunchError: as ``describe``; or Prefect refuses it.
    """
    deployment = await _deployment(endpoint, settings)
    model = _form(deployment)
    elements = {"elements": model.get_model()}
    try:
        parameters = await run_in_threadpool(model.read, posted)
        files = model.sent_files(posted)
        owner = Owner(user.id, user.name)
        await sent_files.check(files, owner, settings, launch_id=launch_id)
        begun = await _begun(
            endpoint,
            deployment,
            model,
            posted,
            parameters,
            files,
            schedule,
            owner,
            settings,
            launch_id,
        )
    except UnheldError as error:
        return {"errors": error_fields(error.at_fields(model))} | elements
    except InputsError as error:
        return {"errors": error_fields(error)} | elements
    return begun | elements


async def _begun(
    endpoint: RegisteredEndpoint,
    deployment: DeploymentResponse,
    model: Model,
    posted: Row,
    parameters: Row,
    files: Sequence[SentFiles],
    schedule: str | None,
    owner: Owner,
    settings: Settings,
    launch_id: str | None,
) -> dict[str, Any]:
    """A schedule or a run, with what was read of the form."""
    if schedule is not None:
        when = await When.of(schedule)
        schedule_id = await schedules.create(
            deployment.id,
            when,
            parameters,
            owner,
            endpoint_uid=endpoint.uid,
            summary=when.name or endpoint.summary,
            launch_id=launch_id,
            files=files,
            settings=settings,
        )
        return {"schedule": schedule_id}
    flow = str(endpoint.summary).partition("/")[0]
    masked_inputs: dict[str, Any] | None = None
    effective = _defaults(deployment) | parameters
    if model.secrets or effective != parameters:
        masked_inputs = mask_inputs(effective, model.secrets, model.secret_values(posted)).inputs
        if masked_inputs.keys() == {"inputs"} and isinstance(masked_inputs["inputs"], dict):
            masked_inputs = masked_inputs["inputs"]  # as recorded for other runs
    fid = await launch_deployment(
        deployment.id,
        parameters,
        owner,
        flow_name=flow,
        launch_id=launch_id,
        files=files,
        visible_inputs=masked_inputs,
        settings=settings,
    )
    return {"result": fid}


def _form(deployment: DeploymentResponse) -> Model:
    return from_schema(deployment.parameter_openapi_schema or {}, deployment.parameters)


def _defaults(deployment: DeploymentResponse) -> dict[str, Any]:
    """What the flow gets where a launch gives no value."""
    fields = (deployment.parameter_openapi_schema or {}).get("properties", {})
    own = {name: field["default"] for name, field in fields.items() if "default" in field}
    return own | (deployment.parameters or {})


async def _deployment(endpoint: RegisteredEndpoint, settings: Settings) -> DeploymentResponse:
    async with prefect_api(settings) as client:
        try:
            return await client.read_deployment(UUID(endpoint.deployment_id))
        except ObjectNotFound:
            raise NotFoundError(f"{endpoint.summary} is no longer in Prefect") from None
