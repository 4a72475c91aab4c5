"""Starting a run of a deployment: in Prefect, in our record, and at the workers."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentFlowRunCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled, to_state_create

from kodosumi_prefect.adapter.execution import Meta, header_of, opening
from kodosumi_prefect.adapter.launched import launched
from kodosumi_prefect.database import channels
from kodosumi_prefect.database.worker_messages import Message
from kodosumi_prefect.events import Kind, clean
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.launch import database
from kodosumi_prefect.launch.parameters import held
from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.launch.refusal import FaultyServiceError, LaunchError
from kodosumi_prefect.launch.templates import literal
from kodosumi_prefect.owner import Owner, signed
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.vocabulary import OWNER_LABEL

ATTEMPTS = 2  # of creating a run; its idempotency key makes the second harmless

logger = logging.getLogger(__name__)


class RunRequest(NamedTuple):
    """A run that somebody wants.

    Attributes:
        id: random; Prefect makes one run of it, however often it is asked. The inputs are those of
            the first time.
        owner: who launches it; None if nobody is known.
        retries: None leaves it to the flow.
        retry_delay: seconds; likewise.
        job_variables: in place of those of the deployment.
        visible_inputs: as people see them; the parameters if not given.
        payload: row of inputs that are kept for this run.
        flow_name: as lists show it, where the run does not set it itself.
        trusted: the parameters are not what people typed: they may refer to blocks.
    """

    parameters: dict[str, Any]
    id: str
    owner: Owner | None = None
    retries: int | None = None
    retry_delay: float | None = None
    job_variables: dict[str, Any] | None = None
    visible_inputs: Any = None
    payload: str | None = None
    flow_name: str | None = None
    tags: Sequence[str] = ()
    trusted: bool = False


def new_id() -> str:
    """An id for a launch."""
    return str(uuid4())


async def start_run(deployment: UUID, wish: RunRequest, settings: Settings) -> str:
    """Create a run, open its record, and wake the workers of its pool; its fid.

    Raises:
        UnheldError: a parameter that Prefect cannot hold.
        ObjectNotFound: the deployment is gone.
        LaunchError: Prefect refused it, or the owner cannot be signed.
    """
    labels: dict[str, Any] = {}
    if wish.owner is not None:
        try:
            labels[OWNER_LABEL] = signed(wish.owner, wish.id, settings)
        except NoKeyError as exc:
            raise FaultyServiceError(f"the owner of a run cannot be set: {exc}") from exc
    async with prefect_api(settings) as client:
        parameters = wish.parameters
        if not wish.trusted:
            parameters = await held(client, deployment, parameters)
    body = DeploymentFlowRunCreate(
        state=to_state_create(Scheduled()),
        parameters={name: literal(value) for name, value in parameters.items()},
        idempotency_key=wish.id,
        labels=labels,
        tags=list(wish.tags),
        job_variables=wish.job_variables or None,
        empirical_policy=FlowRunPolicy(
            retries=wish.retries,
            retry_delay=None if wish.retry_delay is None else round(wish.retry_delay),
        ),
    )
    async with prefect_api(settings) as client:
        run = await _created(client, deployment, body)
    wish = await _with_payload_of(run, wish, settings)
    if database.known(settings):
        try:
            await database.with_spooler(
                settings, lambda spooler: _tell(spooler, run, wish, settings)
            )
        except LaunchError as exc:  # the run goes on; whoever executes it opens the record
            logger.warning("launch of %s is not recorded yet: %s", run.id, exc.detail)
    return str(run.id)


async def _created(
    client: PrefectClient, deployment: UUID, request: DeploymentFlowRunCreate
) -> FlowRun:
    body = request.model_dump(mode="json", exclude_unset=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = await client.request(
                "POST",
                "/deployments/{id}/create_flow_run",
                path_params={"id": deployment},
                json=body,
            )
            return FlowRun.model_validate(answer.json())
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code == 404:
                raise ObjectNotFound(http_exc=exc) from exc
            raise
        except httpx.TransportError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


async def _with_payload_of(run: FlowRun, wish: RunRequest, settings: Settings) -> RunRequest:
    """The wish with the row of inputs that the run has: another one if the run was there before."""
    known = launched(run.parameters)
    if known is None or known.launch.payload == wish.payload:
        return wish
    if wish.payload is not None and database.known(settings):
        await database.query_rows(settings, "forget_payload", id=wish.payload)
    return wish._replace(payload=known.launch.payload)


async def run_of_launch(id_: str, settings: Settings) -> str | None:
    """The fid of the run that came of a launch; None if there is none.

    Arguments:
        id_: as in ``RunRequest``.

    Raises:
        LaunchError: Prefect is away.
    """
    chosen = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[id_]))
    async with prefect_api(settings) as client:
        runs = await client.read_flow_runs(flow_run_filter=chosen, limit=1)
    return str(runs[0].id) if runs else None


def _tell(spooler: Spooler, run: FlowRun, wish: RunRequest, settings: Settings) -> None:
    """Open the execution, so that it can be asked for at once, and wake the workers."""
    header = header_of(None, run, Meta())
    if header["flow_name"] is None and wish.flow_name is not None:
        header["flow_name"] = header["summary"] = clean(wish.flow_name)
    events = opening(run, header, 1, visible_inputs=wish.visible_inputs)
    if launched(run.parameters) is None:  # its own process knows the flow's metadata
        events = tuple(event for event in events if event.kind != Kind.META)
    fid = str(run.id)
    spooler.append([Batch(fid, str(uuid4()), 1, header, list(events))])
    if wish.payload is not None:
        spooler.query("take_payload", {"id": wish.payload, "fid": fid})
    if run.work_pool_name is not None:
        message = Message("wake", run.work_pool_name).payload()
        where = channels.workers(settings.database_schema)
        spooler.tell("wake_workers", {"channel": where, "message": message})
