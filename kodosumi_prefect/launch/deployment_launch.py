"""Launching a Prefect deployment without an endpoint, of a flow that does not use this package."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.forms.files import SentFiles
from kodosumi_prefect.launch.refusal import GoneError
from kodosumi_prefect.launch.sent_files import start_with
from kodosumi_prefect.launch.starting import RunRequest, new_id
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.settings import Settings, get_settings


async def launch_deployment(
    deployment: UUID | str,
    parameters: dict[str, Any],
    owner: Owner | None,
    *,
    flow_name: str | None = None,
    launch_id: str | None = None,
    visible_inputs: dict[str, Any] | None = None,
    files: Sequence[SentFiles] = (),
    settings: Settings | None = None,
) -> str:
    """Run a Prefect deployment for somebody; the run's fid.

    Arguments:
        deployment: its id.
        parameters: for its flow; what is missing comes from the deployment.
        owner: who launches it.
        flow_name: as lists show the execution until its own process reports more.
        launch_id: a random id; asked again with the same one, Prefect answers the same run.
        files: what the run finds in ``in/``.
        visible_inputs: the parameters as people may see them in the record, if not as they are.

    Raises:
        LaunchError: it is gone (404), or Prefect is away or does not take the parameters.
        UnheldError: a parameter that Prefect cannot hold.
    """
    wish = RunRequest(
        parameters, launch_id or new_id(), owner, visible_inputs=visible_inputs, flow_name=flow_name
    )
    try:
        return await start_with(UUID(str(deployment)), wish, files, settings or get_settings())
    except ObjectNotFound:
        raise GoneError(f"deployment {deployment} is no longer in Prefect") from None
