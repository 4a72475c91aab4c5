"""What is to be done with ``ray`` when it is imported, by whomever; nothing here imports it."""

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

RAY = "ray"

_lock = threading.Lock()
_due: list[Callable[[Any], None]] = []  # in the order in which they were asked for


def when_imported(then: Callable[[Any], None]) -> None:
    """Call a function with ``ray`` once it is imported; at once if it is.

    Functions are called in the order in which they came, each once, however often it came before.
    """
    module = sys.modules.get(RAY)
    if module is not None and type(module) is ModuleType:
        import ray  # waits for a thread that is importing it

        then(ray)
        return
    with _lock:
        if then not in _due:
            _due.append(then)
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    if module is not None:
        # A lazy one, as prefect-ray imports it: nothing may be read of it, or it is loaded now.
        _call_after(object.__getattribute__(module, "__spec__").loader)


class _Finder(MetaPathFinder):
    """Finds ``ray`` as others do, and hears when it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != RAY:
            return None
        for finder in [one for one in sys.meta_path if one is not self]:
            if (spec := finder.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    _call_after(spec.loader)
                return spec
        return None


def _call_after(loader: Any) -> None:
    if "exec_module" in vars(loader):
        return
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        with _lock:
            due = [*_due]
            _due.clear()
        for then in due:
            then(module)

    loader.exec_module = exec_module
