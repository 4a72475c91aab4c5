"""Which part of which execution the calling code belongs to."""

import os
import platform
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from prefect.client.schemas.objects import FlowRun, TaskRun

from kodosumi_prefect._compat.prefect import FLOW_CONTEXT, TASK_CONTEXT

KNOWN_SCOPES = 10_000  # flow runs a process remembers
# They add to the lists below, and record what child processes say.
ADAPTERS = (
    "kodosumi_prefect.adapter.child_processes",
    "kodosumi_prefect.adapter.owners",
    "kodosumi_prefect.instrumentation",
)


class Scope(NamedTuple):
    """Which part of which execution some code belongs to.

    Attributes:
        fid: the execution, the id of the root flow run.
        attempt: Prefect's run count of the root flow run.
        flow_name: of the root, as far as known.
        task_run: ``(id, name)`` of the Prefect task run, if in one.
        subflow: ``(id, name)`` of the Prefect flow run, if it is not the root.
    """

    fid: str
    attempt: int = 1
    flow_name: str | None = None
    task_run: tuple[str, str] | None = None
    subflow: tuple[str, str] | None = None


# By this name it is pickled, in tracers too: images with an older version know only that place.
Scope.__module__ = "kodosumi_prefect.tracer"

Place = tuple[FlowRun | None, TaskRun | None, Scope, str]  # the last one: the source as JSON

_entered: ContextVar[Scope | None] = ContextVar("kodosumi_scope", default=None)
# Scopes of the flow runs this process knows, by flow run id and run count.
_flow_scopes: dict[tuple[UUID, int], Scope] = {}
# The same by the very objects in Prefect's context, which is what makes looking it up cheap.
_by_object: dict[tuple[int, int], "Place"] = {}
_flow_context = FLOW_CONTEXT.get
_task_context = TASK_CONTEXT.get
# Ways to find the scope of code whose flow run is not known yet; upper layers add theirs.
finders: list[Callable[[], Scope | None]] = []
# Called with the scope of a Tracer that arrived in this process by being unpickled.
arrivals: list[Callable[[Scope], None]] = []
# Called at each use of a Tracer that arrived, where Prefect does not know whose code it is.
uses: list[Callable[[Scope], None]] = []
_sources: dict[Scope, str] = {}
# What ``event_source`` says of runs that may be suspended: their leg, and calls by task run.
_legs: dict[str, int] = {}
_calls: dict[str, str] = {}
# Executions whose tracer was handed to code in other processes, whose end is not announced.
travelled: set[str] = set()


_attached = False


def attach_adapters() -> None:
    """Import what adds its ways here, once, when the process first has to do with an execution."""
    global _attached
    if _attached:
        return
    _attached = True  # before: they come back here while they are imported
    for name in ADAPTERS:
        import_module(name)


@contextmanager
def entered(scope: Scope) -> Generator[Scope, None, None]:
    """Make ``scope`` the current one inside the block, and in tasks and threads made there."""
    token = _entered.set(scope)
    try:
        yield scope
    finally:
        _entered.reset(token)


def enter(scope: Scope) -> None:
    """Make ``scope`` the current one for the rest of the calling asyncio task."""
    _entered.set(scope)


def entered_scope() -> Scope | None:
    """The scope that the surrounding code entered, whatever Prefect's context says."""
    return _entered.get()


def learn_scope(flow_run_id: UUID, run_count: int, scope: Scope) -> None:
    """Remember which scope the code of a flow run belongs to."""
    attach_adapters()
    if len(_flow_scopes) > KNOWN_SCOPES:
        _flow_scopes.clear()
    _by_object.clear()
    _flow_scopes[(flow_run_id, run_count)] = scope


def known_scope() -> Scope | None:
    """The scope of the calling code, if its flow run is known here; costs under a microsecond.

    Prefect's context says which flow and task run the code is in. When there is none, the scope
    that was entered counts.
    """
    place = known_place()
    return place[2] if place is not None else None


def known_place() -> "Place | None":
    """As ``known_scope``, with what it was looked up by and the source of its events."""
    flow_context = _flow_context(None)
    flow_run = flow_context.flow_run if flow_context is not None else None
    if flow_run is None:
        scope = _entered.get()
        return (None, None, scope, event_source(scope)) if scope is not None else None
    task_context = _task_context(None)
    task_run = task_context.task_run if task_context is not None else None
    key = (id(flow_run), id(task_run))
    by_object = _by_object.get(key)
    if by_object is not None and by_object[0] is flow_run and by_object[1] is task_run:
        return by_object
    scope = _flow_scopes.get((flow_run.id, flow_run.run_count))
    if scope is None:
        return None
    # In a subflow that a task called, the task's context is still there and means the parent.
    if task_run is not None and task_run.flow_run_id == flow_run.id:
        scope = scope._replace(task_run=(str(task_run.id), task_run.name))
    if len(_by_object) > KNOWN_SCOPES:
        _by_object.clear()
    place = _by_object[key] = (flow_run, task_run, scope, event_source(scope))
    return place


def current_scope() -> Scope | None:
    """The scope of the calling code, searched for if it is not known; None outside of runs."""
    if (scope := known_scope()) is not None:
        return scope
    attach_adapters()
    for find in finders:
        if (scope := find()) is not None:
            return scope
    return None


def event_source(scope: Scope) -> str:
    """JSON that names where an event comes from: task run, subflow, node and process."""
    source = _sources.get(scope)
    if source is None:
        parts: dict[str, Any] = {"node": platform.node(), "pid": os.getpid()}
        if scope.task_run is not None:
            parts["task_run"] = {"id": scope.task_run[0], "name": scope.task_run[1]}
            if (call := _calls.get(scope.task_run[0])) is not None:
                parts["call"] = call
        if scope.subflow is not None:
            parts["subflow"] = {"id": scope.subflow[0], "name": scope.subflow[1]}
        if leg := _legs.get(scope.fid):
            parts["leg"] = leg
        if len(_sources) > 1000:
            _sources.clear()
        source = _sources[scope] = orjson.dumps(parts).decode()
    return source


def learn_leg(fid: str, leg: int) -> None:
    """Have events of an execution say from here on which leg they are of; 0 is not said."""
    if _legs.get(fid, 0) == leg:
        return
    if len(_legs) > KNOWN_SCOPES:
        _legs.clear()
    _legs[fid] = leg
    _sources.clear()
    _by_object.clear()


def learn_call(task_run_id: str, call: str) -> None:
    """Have events of a task run say which call it is, whose name is the same in every leg."""
    if len(_calls) > KNOWN_SCOPES:
        _calls.clear()
    _calls[task_run_id] = call


def _forget_sources() -> None:
    """A forked process has another id."""
    _sources.clear()
    _by_object.clear()


os.register_at_fork(after_in_child=_forget_sources)
