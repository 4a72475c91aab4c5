"""Which leg of its attempt a run is in: 0 until it was suspended for the first time.

Prefect remembers the key of each pause of a flow run in its ``empirical_policy``, and forgets them
when an attempt is followed by another. A suspension of ours has a key of its own there, so the
number of these keys is that of the leg, in every process that Prefect's context reaches.
"""

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from kodosumi_prefect._compat.prefect import outer_context

PREFIX = "kodosumi-leg"


def current_leg() -> int:
    """The leg that the calling code is in, from 0; 0 outside of flow runs."""
    flow_run = root_run()
    return 0 if flow_run is None else leg_of(flow_run)


def suspended_before() -> bool:
    """Whether the run of the calling code was suspended before, in this attempt."""
    return current_leg() > 0


def leg_of(flow_run: FlowRun) -> int:
    """The leg of a flow run, from 0, as it was read from Prefect."""
    start = f"{PREFIX}:{max(flow_run.run_count, 1)}:"
    return sum(key.startswith(start) for key in flow_run.empirical_policy.pause_keys or ())


def next_attempt(flow_run: FlowRun) -> int:
    """The attempt that a flow run will be in once it runs: another leg is of the same one.

    Prefect does not count a run that was paused again when it goes on.
    """
    return flow_run.run_count + (not flow_run.empirical_policy.resuming)


def key_of_end(flow_run: FlowRun) -> str:
    """The pause key by which the current leg of a flow run ends."""
    return f"{PREFIX}:{max(flow_run.run_count, 1)}:{leg_of(flow_run)}"


def root_run() -> FlowRun | None:
    """The flow run that surrounds all others in this process; None outside of flow runs.

    In another process's task that is the flow that submitted it.
    """
    context = _root_context()
    return context.flow_run if context is not None else None


def flow_is_elsewhere() -> bool:
    """Whether the calling code is in a task whose flow is in another process."""
    context = _root_context()
    return context is not None and context.detached


def _root_context() -> FlowRunContext | None:
    context = FlowRunContext.get()
    while context is not None and context.flow_run is not None:
        if context.flow_run.parent_task_run_id is None:
            break
        outer = outer_context(context)
        if not isinstance(outer, FlowRunContext) or outer.flow_run is None:
            break
        context = outer
    return context
