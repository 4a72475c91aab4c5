"""``ray`` in a flow before its first submit: it joins the flow's cluster.

Ray connects a process that uses it by calling ``ray.init()``, which joins the cluster of the
environment or starts one. In a flow with our task runner it joins what the tasks will run on.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from kodosumi_prefect.runner.ray_import import when_imported

_lock = threading.Lock()
_connects: list[Callable[[], bool]] = []  # of the flows that run, the innermost last


def begin(connect: Callable[[], bool]) -> None:
    """Connect by ``connect`` when ``ray`` is used without a connection; for the start of a flow.

    Imports no Ray.

    Arguments:
        connect: connects to the flow's cluster; whether there is one.
    """
    with _lock:
        _connects.append(connect)
    when_imported(_watch)


def end(connect: Callable[[], bool]) -> None:
    """The flow is over: ``ray.init`` is Ray's again."""
    with _lock:
        if connect in _connects:
            _connects.remove(connect)


def _watch(ray: Any) -> None:
    init = ray.init
    if getattr(init, "watched", False):
        return

    @wraps(init)
    def join(address: str | None = None, **options: Any) -> Any:
        if address not in (None, "auto") or ray.is_initialized() or not _connects:
            return init(address, **options)
        if not _connects[-1]():
            return init(address, **options)
        return init(ignore_reinit_error=True)

    join.watched = True  # type: ignore[attr-defined]
    ray.init = join
