"""One execution's Prefect task runs."""

from typing import Any

from fastapi import APIRouter

from kodosumi_prefect.panel.executions.task_runs import task_runs
from kodosumi_prefect.panel.web.answers import TaskRuns
from kodosumi_prefect.panel.web.error_schemas import answers, problems
from kodosumi_prefect.panel.web.parameters import Execution, Panel

router = APIRouter(prefix="/outputs", tags=["Executions"])


@router.get(
    "/tasks/{fid}",
    summary="Task runs, with state, times, retries and node",
    responses=answers(TaskRuns) | problems(404),
)
async def tasks(panel: Panel, execution: Execution) -> dict[str, Any]:
    """All task runs of the flow run and its subflows, as Prefect has them, oldest first.

    `duration` is in seconds, so far if the task runs. `subflow` is the run that a task run
    belongs to, null if it is the root's; `child_flow_run` the subflow it stands for. `node` and
    `pid` come from the task run's newest events. When Prefect is away `complete` is false,
    `detail` says why, and the list holds what events tell.
    """
    items, missing = await task_runs(panel, execution)
    return {
        "fid": execution.fid,
        "items": items,
        "complete": missing is None,
        "detail": missing,
    }
