"""What Ray's workers do for our task runner."""

import asyncio
from contextlib import nullcontext
from contextvars import Context, copy_context
from typing import Any, NamedTuple, cast
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.task_engine import run_task_async, run_task_sync
from prefect.tasks import Task

from kodosumi_prefect._compat.prefect_unfinished import ends_leg, suspended, tell_prefect
from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.at_work import at_work
from kodosumi_prefect.adapter.hooks import name_task_run
from kodosumi_prefect.adapter.log_files import read_log_files
from kodosumi_prefect.scope import Scope, entered, learn_scope
from kodosumi_prefect.settings import get_settings, read_settings, reset_settings
from kodosumi_prefect.spans.recording import enter_span
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.route import learn_instance
from kodosumi_prefect.suspension import reuse
from kodosumi_prefect.task_runner.remote_result import apart
from kodosumi_prefect.task_runner.upstream import resolved

TASK_FLUSH = 10.0  # seconds a task waits at its end for its events to be stored


class Carried(NamedTuple):
    """What a task in a Ray worker gets to know about the process that submitted it.

    Attributes:
        settings: as ``carried`` gives them.
        instance: the id of the database, if it is known.
        above: the scope that the surrounding code entered.
        scope: the scope of the code that submitted it.
        flow_run: its flow run and run count.
        span: the id of the span that it was submitted in.
    """

    settings: dict[str, Any]
    instance: str | None
    above: Scope | None
    scope: Scope | None
    flow_run: tuple[UUID, int] | None
    span: str | None = None


def run_apart(
    *upstream: Any,
    task: "Task[..., Any]",
    task_run_id: UUID,
    context: dict[str, Any],
    parameters: dict[str, Any],
    wait_for: Any,
    dependencies: Any,
    carried: Carried,
) -> tuple[Any, State[Any]]:
    """Run a Prefect task in a Ray worker: its value, and its final state without it.

    Arguments:
        upstream: what Ray got from the tasks that it depends on, as ``Upstream`` names it.
    """
    arguments: dict[str, Any] = {
        "task": task,
        "task_run_id": task_run_id,
        "parameters": resolved(parameters, upstream),
        "wait_for": resolved(wait_for, upstream),
        "dependencies": dependencies,
        "context": context,
        "return_type": "state",
    }
    state, value = apart(_run(arguments, carried))
    return value, state  # Ray stores the value first: if it cannot, the state must not be there


def run_with_values(*upstream: Any, carried: Carried, **arguments: Any) -> State[Any]:
    """As ``run_apart``, for a driver that wants state and value in one."""
    for name in ("parameters", "wait_for"):
        arguments[name] = resolved(arguments[name], upstream)
    return _run({**arguments, "return_type": "state"}, carried)


def _run(arguments: dict[str, Any], carried: Carried) -> State[Any]:
    values, instance, above, scope, flow_run, span = carried
    # A Ray worker serves one job, so these are the process's settings from now on.
    reset_settings(read_settings(values))
    learn_instance(instance)

    def run(within: Context) -> State[Any]:
        if not arguments["task"].isasync:
            work: Any = run_task_sync
            return cast("State[Any]", within.run(work, **arguments))
        with asyncio.Runner() as runner:
            running: Any = run_task_async(**arguments)
            return cast("State[Any]", runner.run(running, context=within))

    if scope is None or flow_run is None:
        return run(copy_context())
    learn_scope(*flow_run, scope._replace(task_run=None))
    capturing = get_settings().capture
    if capturing:
        capture.hold()
    try:
        reuse.arrive(arguments["task"])
        with entered(above or scope):
            within = copy_context()
        if span is not None:
            within.run(enter_span, scope.fid, span)
        with at_work(above or scope, within) as work:
            name_task_run(arguments["task"], work)
            with read_log_files() if capturing else nullcontext():
                return run(within)
    except Pause as signal:
        if not ends_leg(signal):
            raise
        tell_prefect()
        return suspended()
    finally:
        if capturing:
            capture.release(scope.fid)
        reuse.leave(arguments["task"])
        get_client().flush(TASK_FLUSH)
