"""Running an execution again: a new run of the same deployment with the same inputs."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.adapter.launched import launched
from kodosumi_prefect.adapter.literal import opened, refers
from kodosumi_prefect.forms.files import SentFiles
from kodosumi_prefect.launch import database
from kodosumi_prefect.launch.masking import MASK
from kodosumi_prefect.launch.parameters import UnheldError
from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.launch.refusal import GoneError, NotAllowedError, WrongRequestError
from kodosumi_prefect.launch.sent_files import batches_of, copied, second_id, start_with
from kodosumi_prefect.launch.starting import RunRequest, new_id
from kodosumi_prefect.owner import Owner, schedule_of
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import OWNER_LABEL

BY_SERVER = {"auto-scheduled"}  # tags that Prefect's scheduler gives
GONE = "its secret inputs were deleted when it ended; launch it by its form"


@dataclass(frozen=True, slots=True)
class _StoredInputs:
    """A row of the query ``payload_again``; ``kept``: for every run that asks."""

    inputs: str | None
    types: str | None
    kept: bool


async def run_again(
    fid: str,
    owner: Owner,
    settings: Settings,
    *,
    visible_inputs: dict[str, Any] | None = None,
    launch_id: str | None = None,
    with_files: bool = True,
) -> str:
    """Start a run with the inputs of an earlier one; the new fid, which is linked to the old.

    Arguments:
        fid: the earlier run.
        owner: whose the new one is.
        visible_inputs: its inputs as people may see them in the record, if not as they are.
        launch_id: a random id; asked again with the same one, it is the same new run.
        with_files: what the earlier run has in ``in/`` goes along.

    Raises:
        LaunchError: it cannot start; says why in one line.
    """
    old = await _earlier(fid, settings)
    if old.deployment_id is None:
        raise NotAllowedError("it was started without a deployment, so nothing here can start it")
    earlier = launched(old.parameters)
    # Blocks given to a run in Prefect are loaded again; what was typed in a form stays data.
    trusted = earlier is None and OWNER_LABEL not in old.labels and schedule_of(old) is None
    parameters = dict(old.parameters) if trusted else opened(old.parameters)
    id_ = launch_id or new_id()
    files = await _files_of(fid, id_, owner, settings) if with_files else []
    payload = None
    if earlier is not None:
        launch = dict(parameters["launch"])
        if earlier.launch.payload is not None:
            payload = await _renewed(earlier.launch.payload, earlier.launch.large, settings)
            launch["payload"] = payload or earlier.launch.payload
        launch.pop("files", None)  # they are the earlier run's
        if files:
            launch["files"] = batches_of(files)
        parameters["launch"] = launch | {"username": owner.name}
    policy = old.empirical_policy
    wish = RunRequest(
        parameters=parameters,
        id=id_,
        owner=owner,
        retries=policy.retries,
        retry_delay=policy.retry_delay if isinstance(policy.retry_delay, int) else None,
        job_variables=old.job_variables or None,
        visible_inputs=visible_inputs,
        payload=payload,
        tags=sorted({*old.tags} - BY_SERVER),
        trusted=trusted and refers(parameters),
    )
    try:
        new = await start_with(old.deployment_id, wish, files, settings)
    except UnheldError as exc:
        raise WrongRequestError(str(exc)) from None
    except ObjectNotFound:
        raise GoneError("its deployment is no longer in Prefect") from None
    if database.known(settings):
        await database.query_rows(settings, "set_again", fid=new, of=fid)
    return new


async def _files_of(fid: str, id_: str, owner: Owner, settings: Settings) -> list[SentFiles]:
    """Copies of what a run has in ``in/``, for the run of the launch ``id_``."""
    if not database.known(settings):
        return []
    files = await copied(fid, second_id(id_), owner, settings)
    return [] if files is None else [files]


async def _earlier(fid: str, settings: Settings) -> FlowRun:
    async with prefect_api(settings) as client:
        try:
            return await client.read_flow_run(UUID(fid))
        except ObjectNotFound:
            raise GoneError("its flow run is no longer in Prefect") from None


async def _renewed(payload: str, large: bool, settings: Settings) -> str | None:
    """A copy of inputs that were stored for one run; None if all runs may use them as they are."""
    rows = await database.rows_of(settings, _StoredInputs, "payload_again", id=payload)
    if not rows:
        raise NotAllowedError(GONE)
    [stored] = rows
    if stored.kept:
        return None
    if not large or stored.inputs is None or _holds_mask(json.loads(stored.inputs)):
        raise NotAllowedError(GONE)
    return str(
        await database.value(
            settings,
            "store_payload",
            inputs=stored.inputs,
            types=stored.types,
            secrets=None,
            kept=False,
        )
    )


def _holds_mask(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_mask, value.values()))
    if isinstance(value, list):
        return any(map(_holds_mask, value))
    return bool(value == MASK)
