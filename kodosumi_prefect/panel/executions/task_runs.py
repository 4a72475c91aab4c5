"""The Prefect task runs of an execution: those of its root flow run and of all subflows."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kodosumi_prefect.addresses import NoPrefectError, require_prefect_access
from kodosumi_prefect.panel.executions.task_trees import MOST, TaskRow, Tree
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.stream.rows import NamedTaskRun, StoredExecution

PREFECT_ANSWER_SECONDS = 5.0  # seconds for all that Prefect is asked
SPAN = 100_000  # newest events looked through for nodes and processes
# What Prefect puts behind a task's name: a number, or the beginning of an id.
_RUN_OF_TASK = re.compile(r"-(?:\d+|[0-9a-f]{3})$")
_HASH_OF_TASK = re.compile(r"-[0-9a-f]{8}$")

Item = dict[str, Any]


def task_name(name: str, task_key: str | None = None) -> str:
    """The task that a run of this name is one of, for people.

    Arguments:
        name: of the run; a custom one says nothing about its task.
        task_key: Prefect's name of the function, with a hash behind it.
    """
    if found := _RUN_OF_TASK.search(name):
        return name[: found.start()]
    if task_key:
        return _HASH_OF_TASK.sub("", task_key).rpartition(".")[2] or name
    return name


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


async def _ask_prefect(panel: State, root: UUID) -> Tree:
    try:
        access = require_prefect_access(panel.settings)
    except NoPrefectError as exc:
        return Tree(missing=str(exc))
    return await panel.task_trees.of(root, access, PREFECT_ANSWER_SECONDS)


def _item(run: TaskRow, event_row: NamedTaskRun | None, tree: Tree, root: UUID) -> Item:
    subflow = None
    if run.flow_run is not None and run.flow_run != root:
        subflow = {"id": str(run.flow_run), "name": tree.subflows.get(run.flow_run)}
    return {
        "id": str(run.id),
        "name": run.name,
        "task": task_name(run.name, run.task_key),
        "state_type": run.state_type,
        "state_name": run.state_name,
        "start_time": _iso(run.start),
        "end_time": _iso(run.end),
        "duration": _duration(run.start, run.end),
        "run_count": run.run_count,
        "retries": max(run.run_count - 1, 0),
        "subflow": subflow,
        "child_flow_run": str(run.child) if run.child is not None else None,
        "node": event_row.node if event_row is not None else None,
        "pid": event_row.pid if event_row is not None else None,
    }


def _item_of_events(event_row: NamedTaskRun) -> Item:
    """A task run that only its events know."""
    unknown = ("state_type", "state_name", "start_time", "end_time", "duration")
    return {
        "id": event_row.id,
        "name": event_row.name or "",
        "task": task_name(event_row.name or event_row.id),
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
