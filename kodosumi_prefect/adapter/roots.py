"""Whose run some code belongs to: the root flow run of whatever Prefect flow run it is in."""

import logging
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.flows import Flow

from kodosumi_prefect._compat.prefect import outer_context
from kodosumi_prefect.adapter.execution import Live, open_execution, report_state
from kodosumi_prefect.adapter.hooks import attach
from kodosumi_prefect.scope import Scope, entered_scope, known_scope, learn_scope
from kodosumi_prefect.settings import get_settings

PARENTS_MOST = 50  # levels of subflows looked through for the root

logger = logging.getLogger(__name__)


def enter_flow_run(context: FlowRunContext) -> tuple[Scope, Live | None]:
    """Get to know the flow run of a context; a root that runs in this process is opened.

    Returns:
        Its scope, and what this process keeps of the execution if it is the one that runs it.
    """
    flow_run = context.flow_run
    assert flow_run is not None
    outer = _outer(context)
    if outer is not None and entered_scope() is None:
        # A plain flow without events so far runs around this one: it is opened as the root.
        above, _ = enter_flow_run(outer)
        scope = above._replace(subflow=(str(flow_run.id), flow_run.name), task_run=None)
    else:
        scope = root_scope(flow_run, context.flow)
    live = None
    if scope.subflow is None and not context.detached and get_settings().enabled:
        live = open_execution(context.flow, flow_run, scope.attempt, context.parameters)
        attach(context.flow)
        if flow_run.state is not None:
            report_state(live, flow_run.state, scope.attempt)
        scope = live.scope
    learn_scope(flow_run.id, flow_run.run_count, scope)
    return scope, live


def _outer(context: FlowRunContext) -> FlowRunContext | None:
    """The context of the flow that called a subflow, if it runs in this process."""
    if context.flow_run is None or context.flow_run.parent_task_run_id is None:
        return None
    outer = outer_context(context)
    return outer if isinstance(outer, FlowRunContext) and outer.flow_run is not None else None


def find_scope() -> Scope | None:
    """The scope of code in a Prefect flow run that this process does not know yet."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    enter_flow_run(context)
    return known_scope()


def root_scope(flow_run: FlowRun, flow: "Flow[..., Any] | None") -> Scope:
    """The scope of a flow run's code: its own if it is a root, else its root's.

    If Prefect cannot be asked for the parents, the run counts as a root of its own.
    """
    name = flow.name if flow is not None else None
    own = Scope(str(flow_run.id), max(flow_run.run_count, 1), name)
    if flow_run.parent_task_run_id is None:
        return own
    above = entered_scope()
    subflow = (str(flow_run.id), flow_run.name)
    if above is not None:
        return above._replace(subflow=subflow, task_run=None)
    try:
        root = _look_up_root(flow_run)
    except (httpx.HTTPError, PrefectException, OSError) as exc:
        logger.warning("cannot read the parent of flow run %s from Prefect: %s", flow_run.id, exc)
        return own
    return Scope(str(root.id), max(root.run_count, 1), None, subflow=subflow)


def _look_up_root(flow_run: FlowRun) -> FlowRun:
    with get_client(sync_client=True) as client:
        for _ in range(PARENTS_MOST):
            if flow_run.parent_task_run_id is None:
                break
            parent = client.read_task_run(flow_run.parent_task_run_id)
            if parent.flow_run_id is None:
                break
            flow_run = client.read_flow_run(parent.flow_run_id)
    return flow_run
