"""When task runs that ran more than once did so, by Prefect's states."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State as PrefectState
from prefect.exceptions import PrefectException

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.panel.html.gantt import Item, Stretch
from kodosumi_prefect.panel.web.state import State

PREFECT_ANSWER_SECONDS = 2.0  # seconds for all that Prefect is asked
MOST = 40  # task runs asked about, since each takes a request of its own


async def attempts(panel: State, items: Sequence[Item]) -> dict[str, list[Stretch]]:
    """The stretches in which the retried ones of ``items`` ran, by id; what Prefect tells in time.

    Nothing is raised when Prefect is away: ``task_runs`` has reported that already.
    """
    retried = [item["id"] for item in items if item["retries"]][:MOST]
    by_task_run: dict[str, list[Stretch]] = {}
    if not retried or (access := prefect_access(panel.settings)) is None:
        return by_task_run
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
            with access.in_force():
                client = await asyncio.to_thread(get_client)
                async with client:
                    for id_ in retried:
                        states = await client.read_task_run_states(UUID(id_))
                        by_task_run[id_] = stretches(states)
    except (TimeoutError, httpx.HTTPError, PrefectException, OSError, ValueError, RuntimeError):
        return by_task_run
    return by_task_run


def stretches(states: Sequence[PrefectState]) -> list[Stretch]:
    """The stretches in which states say that a task run ran; each ends with the next state."""
    ordered: list[PrefectState | None] = [*sorted(states, key=lambda state: state.timestamp), None]
    running = []
    for one, following in pairwise(ordered):
        if one is None or not one.is_running():
            continue
        if following is None:
            running.append(Stretch(one.timestamp, None, one.type.value))
        else:
            # A try that is followed by another one failed.
            ended = "FAILED" if following.is_scheduled() else following.type.value
            running.append(Stretch(one.timestamp, following.timestamp, ended))
    return running
