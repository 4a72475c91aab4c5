"""``ray`` in a flow before its first submit: it joins the flow's cluster.

Ray connects a process that uses it by calling ``ray.init()``, which joins the cluster of the
environment or starts one. In a flow with our task runner it joins what the tasks will run on.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

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
        if not any(isinstance(finder, _RayFinder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _RayFinder())
    module = sys.modules.get("ray")
    if module is not None and type(module) is not ModuleType:
        # A lazy one, as prefect-ray imports it: nothing may be read of it, or it is loaded now.
        _watch_after(object.__getattribute__(module, "__spec__").loader)
    elif module is not None:
        import ray  # waits for a thread that is importing it

        _watch(ray)


def end(connect: Callable[[], bool]) -> None:
    """The flow is over: ``ray.init`` is Ray's again."""
    with _lock:
        if connect in _connects:
            _connects.remove(connect)


class _RayFinder(MetaPathFinder):
    """Has ``ray.init`` watched as soon as Ray is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "ray":
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)):
                if spec.loader is not None:
                    _watch_after(spec.loader)
                return spec
        return None


def _watch_after(loader: Any) -> None:
    if "exec_module" in vars(loader):
        return
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        _watch(module)

    loader.exec_module = exec_module


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
