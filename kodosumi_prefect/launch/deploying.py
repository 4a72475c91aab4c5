"""The Prefect deployment of an endpoint: made once, changed with care, others never touched."""

import asyncio
import hashlib
import json
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentCreate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema

from kodosumi_prefect.launch import database
from kodosumi_prefect.launch.endpoint import Endpoint
from kodosumi_prefect.launch.entrypoint import ENTRYPOINT, FLOW, run_entrypoint
from kodosumi_prefect.launch.options import Options
from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.launch.refusal import NotAllowedError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.vocabulary import ENDPOINT_LABEL

T = TypeVar("T")
LONGEST_SLUG = 60  # characters
LOCKED_FOR = 30.0  # seconds that making a deployment may take
# Keys of a Ray process's runtime_env that apply to another process.
OF_THE_PROCESS = {"_ray_commit", "_ray_release", "worker_process_setup_hook", "config"}

_known: dict[tuple[str, str, str], UUID] = {}  # by pool, name and version


class Plan(NamedTuple):
    """The wanted deployment of an endpoint.

    Attributes:
        version: changes with everything else here; shows whether Prefect has this plan already.
    """

    name: str
    uid: str
    pool: str
    description: str | None
    parameters: dict[str, Any]
    job_variables: dict[str, Any]
    version: str


def uid_of(endpoint: Endpoint) -> str:
    """The endpoint's stable id: the same whatever its summary is."""
    return hashlib.md5(f"{endpoint.app_name}\n{endpoint.path}".encode()).hexdigest()


def slug_of(endpoint: Endpoint) -> str:
    """The endpoint in one word: its app, and its path unless that is the root."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{endpoint.app_name} {endpoint.path}".lower())
    return words.strip("-")[:LONGEST_SLUG].strip("-") or "endpoint"


def plan(endpoint: Endpoint, entry_point: str, folders: list[str], settings: Settings) -> Plan:
    """The deployment that this process would make."""
    uid = uid_of(endpoint)
    job = Options.of(endpoint.options).job_variables()
    if runtime_env := runtime_env_here() | job.get("runtime_env", {}):
        job["runtime_env"] = runtime_env
    launch = {"flow": slug_of(endpoint), "summary": endpoint.summary, "path": folders}
    options: dict[str, Any] = {
        "pool": settings.launch_work_pool,
        "description": endpoint.description or endpoint.summary,
        "parameters": {"entry_point": entry_point, "inputs": {}, "launch": launch},
        "job_variables": job,
    }
    version = hashlib.md5(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()[
        :12
    ]
    return Plan(name=f"{slug_of(endpoint)}-{uid[:8]}", uid=uid, version=version, **options)


async def deployment_of(planned: Plan, settings: Settings, *, anew: bool = False) -> UUID:
    """The id of an endpoint's deployment; it is made at the first launch, and kept up to date.

    What people changed in Prefect stays until the service itself changes what it wants.

    Arguments:
        anew: do not use what this process remembers.

    Raises:
        LaunchError: there is none and ``auto_deploy`` is off, one of that name is not ours, its
            work pool is not there, or Prefect or Postgres are away.
    """
    key = (planned.pool, planned.name, planned.version)
    if not anew and key in _known:
        return _known[key]
    async with prefect_api(settings) as client:
        if not anew and key in _known:  # another launch made it while this one waited
            return _known[key]
        deployment = await _read(client, planned)
        if deployment is None:
            if not settings.auto_deploy:
                raise NotAllowedError(
                    f"there is no deployment {FLOW}/{planned.name} in Prefect and auto_deploy is "
                    "off; turn it on or create the deployment",
                )
            deployment = await _locked(settings, planned.name, lambda: _create(client, planned))
        elif (
            deployment.version != planned.version
            and settings.auto_deploy
            and _is_ours(deployment, planned)
        ):
            await client.update_deployment(deployment.id, _update(planned))
    _known[key] = deployment.id
    return deployment.id


def runtime_env_here() -> dict[str, Any]:
    """The ``runtime_env`` of this process if Ray runs it, so that Runners find the same code.

    Its folders are ``gcs://`` packages by now: Ray keeps them while anything, such as the service
    itself, uses them.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return {}
    runtime_env = dict(ray.get_runtime_context().runtime_env)
    return {
        name: value for name, value in runtime_env.items() if value and name not in OF_THE_PROCESS
    }


async def _read(client: PrefectClient, planned: Plan) -> DeploymentResponse | None:
    try:
        deployment = await client.read_deployment_by_name(f"{FLOW}/{planned.name}")
    except ObjectNotFound:
        return None
    if not _is_ours(deployment, planned) and deployment.entrypoint != ENTRYPOINT:
        raise NotAllowedError(
            f"deployment {FLOW}/{planned.name} in Prefect was not made by kodosumi-prefect; rename "
            "or delete it",
        )
    return deployment


def _is_ours(deployment: DeploymentResponse, planned: Plan) -> bool:
    return bool(deployment.labels and deployment.labels.get(ENDPOINT_LABEL) == planned.uid)


async def _create(client: PrefectClient, planned: Plan) -> DeploymentResponse:
    """Create the deployment unless somebody else has: creating it again deletes schedules."""
    if (deployment := await _read(client, planned)) is not None:
        return deployment
    flow_id = await client.create_flow_from_name(FLOW)
    try:
        await client.read_work_pool(planned.pool)
    except ObjectNotFound:
        raise NotAllowedError(
            f"there is no work pool {planned.pool}; run `prefect work-pool create --type "
            f"kodosumi-ray {planned.pool}` or set launch_work_pool",
        ) from None
    schema = parameter_schema(run_entrypoint).model_dump_for_openapi()
    body = DeploymentCreate(
        name=planned.name,
        flow_id=flow_id,
        version=planned.version,
        description=planned.description,
        parameters=planned.parameters,
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        entrypoint=ENTRYPOINT,
        work_pool_name=planned.pool,
        job_variables=planned.job_variables,
        labels={ENDPOINT_LABEL: planned.uid},
    )
    # The client's own method for this takes no labels.
    await client.request(
        "POST", "/deployments/", json=body.model_dump(mode="json", exclude_unset=True)
    )
    created = await _read(client, planned)
    assert created is not None
    return created


def _update(planned: Plan) -> DeploymentUpdate:
    return DeploymentUpdate(
        version=planned.version,
        description=planned.description,
        parameters=planned.parameters,
        parameter_openapi_schema=parameter_schema(run_entrypoint).model_dump_for_openapi(),
        entrypoint=ENTRYPOINT,
        job_variables=planned.job_variables,
        work_pool_name=planned.pool,
    )


async def _locked(settings: Settings, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``make`` while no other process of this database does so for the same name."""
    if not database.known(settings):
        return await make()
    loop = asyncio.get_running_loop()

    def holding(spooler: Spooler) -> T:
        with spooler.connect().transaction():
            spooler.query("lock_deployment", {"name": name})
            return asyncio.run_coroutine_threadsafe(make(), loop).result(LOCKED_FOR)

    return await database.with_spooler(settings, holding)
