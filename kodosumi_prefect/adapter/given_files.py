"""What a run was given: in its ``in/`` before its code begins.

Whoever launched it has seen to that, if they reach the storage. What was scheduled gets its copy
here.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow

from kodosumi_prefect.adapter.execution import Live
from kodosumi_prefect.adapter.launched import launched
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import Event
from kodosumi_prefect.files.binding import Binding
from kodosumi_prefect.files.uploads import batch_of
from kodosumi_prefect.forms.files import FORMAT
from kodosumi_prefect.owner import schedule_of
from kodosumi_prefect.run_files.places import FilesAwayError
from kodosumi_prefect.run_files.reaching import panel_of, query_of, reached_storage
from kodosumi_prefect.settings import get_settings


class GivenFilesError(KodosumiError):
    """A run does not have the files that it was launched with, in one line."""


def have_files(flow: "Flow[..., Any]", flow_run: FlowRun, live: Live) -> None:
    """Have what a root run was launched or scheduled with stand in its ``in/``.

    Raises:
        GivenFilesError: it does not, and says why.
    """
    if not needs_files(flow, flow_run):
        return
    launch = launched(flow_run.parameters)
    try:
        _bind(launch.launch.files if launch is not None else [], flow_run, live)
    except KodosumiError as exc:
        raise GivenFilesError(f"the files that this run was given are not there: {exc}") from exc


def needs_files(flow: "Flow[..., Any]", flow_run: FlowRun) -> bool:
    """Whether a run was given any, as far as can be seen without asking."""
    launch = launched(flow_run.parameters)
    if launch is not None:
        return bool(launch.launch.files)
    return FORMAT in json.dumps(flow.parameters.model_dump_for_openapi(), default=str)


def _bind(batches: Sequence[str], flow_run: FlowRun, live: Live) -> None:
    settings = get_settings()
    fid, schedule = live.scope.fid, schedule_of(flow_run)

    def append(fid: str, event: Event) -> None:
        live.client.emit(fid, event)
        _settle(live)

    query = query_of(settings)
    storage = reached_storage(settings, query) if query is not None else None
    if query is None or storage is None:
        _settle(live)  # its row says whose it is, and which schedule's
        with panel_of(fid, settings) as panel:
            panel.bind()
        return
    own = [fid]
    if (launch_id := _uuid(flow_run.idempotency_key)) is not None:
        # Whoever launched it may not have noted yet which run came of that.
        query("note_run_of_batches", {"fid": fid, "launch": launch_id})
        own.append(launch_id)
    if not batches:
        batches = [id_ for (id_,) in query("batches_of_run", {"fids": own, "schedule": schedule})]
    binding = Binding(storage, query, append, settings)
    for batch in batches:
        given = batch_of(batch, query)
        if given.fid not in own and (given.schedule is None or given.schedule != schedule):
            raise GivenFilesError(f"batch {batch} is not this run's")
        binding.bind(fid, batch)


def _uuid(key: str | None) -> str | None:
    """The id of a launch, if a run's idempotency key is one."""
    try:
        return str(UUID(key or ""))
    except ValueError:
        return None


def _settle(live: Live) -> None:
    if not live.client.flush(live.client.settings.flush_timeout):
        raise FilesAwayError("the record of this run is not stored in time")
