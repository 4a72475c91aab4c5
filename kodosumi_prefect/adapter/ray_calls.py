"""Native Ray functions and actors: which execution they work for, once they got its tracer.

A call is bound by its Ray task id when the tracer arrives among its arguments; methods of async
actors, which share a thread, are bound when they first use the tracer.
"""

import asyncio
import sys
import threading
from collections import OrderedDict

from kodosumi_prefect.adapter import capture
from kodosumi_prefect.scope import Scope, arrivals, enter, uses
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.route import in_ray_worker

BOUND_MOST = 1000  # calls remembered; older ones are over
CONNECT_WAIT = 1.0  # seconds a call waits for the first connection of its process

_bound: OrderedDict[str, Scope] = OrderedDict()
_lock = threading.Lock()
_capturing = False


def _bind(scope: Scope) -> None:
    """A tracer arrived: if that is in a Ray worker, the current call works for its execution."""
    if not in_ray_worker():
        return
    global _capturing
    call = _current_call()
    with _lock:
        if call is not None:
            if _current_actor() is None:
                _bound.clear()  # a worker without an actor runs one call after the other
            _bound[call] = scope
            _bound.move_to_end(call)
            if len(_bound) > BOUND_MOST:
                _bound.popitem(last=False)
        first = not _capturing
        _capturing = True
    if first:
        get_client().hurry(CONNECT_WAIT)
        if get_settings().capture:
            capture.hold()


def _use(scope: Scope) -> None:
    """A method of an async actor uses a tracer: what it prints from now on is the execution's."""
    if asyncio._get_running_loop() is not None and in_ray_worker():
        enter(scope)


def bound_scope() -> Scope | None:
    """The execution that the current Ray call works for, if it got its tracer."""
    if not _bound:
        return None
    call = _current_call()
    if call is None or call in _bound or _runs_here():
        return _bound.get(call) if call is not None else None
    scopes = list(_bound.values())
    return scopes[-1] if len({scope.fid for scope in scopes}) == 1 else None


def _runs_here() -> bool:
    """Whether the calling thread is one that Ray runs calls in, and not one that a call started.

    Ray makes up a task id for each of those, of a task without a name.
    """
    return bool(sys.modules["ray"].get_runtime_context().get_task_name())


def _current_actor() -> str | None:
    actor: str | None = sys.modules["ray"].get_runtime_context().get_actor_id()
    return actor


def _current_call() -> str | None:
    """The id of the Ray task this code runs in; None outside of one."""
    if not in_ray_worker():
        return None
    call: str | None = sys.modules["ray"].get_runtime_context().get_task_id()
    return call


arrivals.append(_bind)
uses.append(_use)
