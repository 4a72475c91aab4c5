"""Doing something as soon as a module is imported, without importing it."""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

_waiting: dict[str, list[Callable[[], None]]] = {}
_lock = threading.Lock()


def when_imported(module: str, then: Callable[[], None]) -> None:
    """Call a function once a module was imported; at once if it was already.

    What it raises is logged, and does not reach whoever imports the module.
    """
    with _lock:
        if getattr(sys.modules.get(module), "__spec__", None) is None or _is_loading(module):
            _waiting.setdefault(module, []).append(then)
            if _finder not in sys.meta_path:
                sys.meta_path.insert(0, _finder)
            return
    _call(module, then)


def _is_loading(module: str) -> bool:
    return bool(getattr(sys.modules[module].__spec__, "_initializing", False))


def _call(module: str, then: Callable[[], None]) -> None:
    try:
        then()
    except Exception:
        logger.exception("%s was imported, and %r failed", module, then)


class _Finder:
    """Finds modules that are waited for as the others do, and tells when they were executed.

    The module's spec and loader stay the ones that others found; only this one loader's method is
    watched, for this one module.
    """

    def __init__(self) -> None:
        self._finding = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _waiting or getattr(self._finding, "name", None) == name:
            return None
        self._finding.name = name
        try:
            spec = find_spec(name)
        finally:
            self._finding.name = None
        loader: Any = spec.loader if spec is not None else None
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return spec

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            for then in _waiting.pop(name, ()):
                _call(name, then)

        try:
            loader.exec_module = exec_module
        except AttributeError:  # of a loader that cannot be watched
            logger.debug("%s is not seen when it is imported", name)
        return spec


_finder: Any = _Finder()
