"""The Prefect task runs of an execution: those of its root flow run and of all subflows."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import PrefectException

from kodosumi_prefect import listings
from kodosumi_prefect.addresses import NoPrefectError, no_answer, require_prefect_access
from kodosumi_prefect.listings import PAGE, narrowed
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.stream.rows import NamedTaskRun, StoredExecution

PREFECT_ANSWER_SECONDS = 5.0  # seconds for all that Prefect is asked
MOST = 5000  # task runs of one answer
SPAN = 100_000  # newest events looked through for nodes and processes

Item = dict[str, Any]


@dataclass(slots=True)
class _Tree:
    """What was read from Prefect so far."""

    subflows: dict[UUID, str] = field(default_factory=dict)
    task_runs: dict[UUID, TaskRun] = field(default_factory=dict)
    missing: str | None = None


async def task_runs(panel: State, execution: StoredExecution) -> tuple[list[Item], str | None]:
    """All known task runs in the order they began, and why some may be missing, or None.

    Names, states and times come from Prefect; node and process from events, and so do the task runs
    there are when Prefect is away.
    """
    after = max(execution.last_seq - SPAN, 0)
    event_rows, tree = await asyncio.gather(
        panel.reader.rows_of(NamedTaskRun, "task_runs", fid=execution.fid, after=after, limit=MOST),
        _ask_prefect(panel, UUID(execution.fid)),
    )
    named = {row.id: row for row in event_rows}
    root = UUID(execution.fid)
    items = [
        _item(run, named.pop(str(run.id), None), tree, root) for run in tree.task_runs.values()
    ]
    items += [_item_of_events(row) for row in named.values()]
    items.sort(
        key=lambda item: (item["start_time"] is None, item["start_time"] or "", item["name"])
    )
    return items, tree.missing


async def _ask_prefect(panel: State, root: UUID) -> _Tree:
    tree = _Tree()
    try:
        access = require_prefect_access(panel.settings)
    except NoPrefectError as exc:
        tree.missing = str(exc)
        return tree
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
            with access.in_force():
                # Making one reads certificates for some 30 ms, which streams should not wait for.
                client = await asyncio.to_thread(get_client)
                async with client:
                    await _walk(client, root, tree)
    except TimeoutError:
        tree.missing = no_answer(access, PREFECT_ANSWER_SECONDS)
    except (httpx.HTTPError, PrefectException, OSError, ValueError, RuntimeError) as exc:
        tree.missing = no_answer(access, exc)
    return tree


async def _walk(client: PrefectClient, root: UUID, tree: _Tree) -> None:
    """Level by level through the subflows; what was read stays in ``tree`` if it breaks off."""
    level = [root]
    while level:
        below: list[UUID] = []
        for start in range(0, len(level), PAGE):
            parents = level[start : start + PAGE]
            async for run in _task_runs_of(client, parents):
                tree.task_runs[run.id] = run
                if len(tree.task_runs) >= MOST:
                    tree.missing = f"there are more than {MOST:,} task runs"
                    return
            async for child, name in _subflows_of(client, parents):
                if child not in tree.subflows and child != root:
                    tree.subflows[child] = name
                    below.append(child)
        level = below


async def _task_runs_of(client: PrefectClient, flow_runs: list[UUID]) -> AsyncIterator[TaskRun]:
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=flow_runs))
    # In this order a task run that begins meanwhile comes last and shifts no page.
    order = TaskRunSort.EXPECTED_START_TIME_ASC

    async def read(limit: int, offset: int) -> list[TaskRun]:
        return await client.read_task_runs(
            flow_run_filter=chosen, sort=order, limit=limit, offset=offset
        )

    for offset in range(0, MOST + PAGE, PAGE):
        batch = await narrowed(read, "task run", limit=PAGE, offset=offset)
        for run in batch.rows:
            yield run
        if batch.last:
            return


async def _subflows_of(
    client: PrefectClient, flow_runs: list[UUID]
) -> AsyncIterator[tuple[UUID, str]]:
    chosen = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=flow_runs))
    order = FlowRunSort.EXPECTED_START_TIME_ASC
    for offset in range(0, MOST + PAGE, PAGE):
        batch = await listings.flow_runs(
            client, sort=order, limit=PAGE, offset=offset, flow_run_filter=chosen
        )
        for run in batch.rows:
            yield run.id, run.name
        if batch.last:
            return


def _item(run: TaskRun, event_row: NamedTaskRun | None, tree: _Tree, root: UUID) -> Item:
    subflow = None
    if run.flow_run_id is not None and run.flow_run_id != root:
        subflow = {"id": str(run.flow_run_id), "name": tree.subflows.get(run.flow_run_id)}
    child = run.state.state_details.child_flow_run_id if run.state is not None else None
    return {
        "id": str(run.id),
        "name": run.name,
        "state_type": run.state_type.value if run.state_type is not None else None,
        "state_name": run.state_name,
        "start_time": _iso(run.start_time),
        "end_time": _iso(run.end_time),
        "duration": _duration(run.start_time, run.end_time),
        "run_count": run.run_count,
        "retries": max(run.run_count - 1, 0),
        "subflow": subflow,
        "child_flow_run": str(child) if child is not None else None,
        "node": event_row.node if event_row is not None else None,
        "pid": event_row.pid if event_row is not None else None,
    }


def _item_of_events(event_row: NamedTaskRun) -> Item:
    """A task run that only its events know."""
    unknown = ("state_type", "state_name", "start_time", "end_time", "duration")
    return {
        "id": event_row.id,
        "name": event_row.name or "",
        **dict.fromkeys(unknown),
        "run_count": None,
        "retries": None,
        "subflow": event_row.subflow,
        "child_flow_run": None,
        "node": event_row.node,
        "pid": event_row.pid,
    }


def _duration(start: datetime | None, end: datetime | None) -> float | None:
    if start is None:
        return None
    return max(((end or datetime.now(UTC)) - start).total_seconds(), 0.0)


def _iso(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat() if value is not None else None
