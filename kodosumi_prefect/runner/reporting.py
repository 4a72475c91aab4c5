"""States of a run that Prefect's engine, which is not there for it, cannot report."""

import logging
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectException
from prefect.logging.handlers import APILogWorker

from kodosumi_prefect.adapter import execution
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spooler.client import get_client as get_spool_client

DRAIN_TIMEOUT = 5.0  # seconds for Prefect's own logs and events to be sent

logger = logging.getLogger(__name__)


def report(
    flow_run: FlowRun, state: State[Any], error: "Exception | str", *, force: bool = True
) -> State[Any] | None:
    """Give a run a state, in Prefect and in its stream.

    Arguments:
        error: why, for the stream.
        force: whatever state it has by now.

    Returns:
        The state as Prefect has it; None if it refused.
    """
    try:
        with get_client(sync_client=True) as client:
            answer = client.set_flow_run_state(flow_run.id, state, force=force)
    except (httpx.HTTPError, PrefectException, OSError) as exc:
        logger.error("cannot set flow run %s to %s in Prefect: %s", flow_run.id, state, exc)
        raise
    if answer.status is not SetStateStatus.ACCEPT:
        return None
    reached = answer.state or state
    if get_settings().enabled:
        attempt = max(flow_run.run_count, 1)
        live = execution.open_execution(None, flow_run, attempt, running=False)
        execution.tell_error(live, error, note=state.message, line=state.message)
        execution.report_state(live, reached, attempt)
    return reached


def flush() -> None:
    """Send what is still in this process's queues; it ends next."""
    if get_settings().enabled:
        get_spool_client().flush(get_settings().flush_timeout)
    for delivery in (APILogWorker, EventsWorker):
        delivery.drain_all(timeout=DRAIN_TIMEOUT)
