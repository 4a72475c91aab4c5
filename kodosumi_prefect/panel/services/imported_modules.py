"""The modules that a service's import brings, so that one that failed can be imported anew."""

import importlib
import sys
import sysconfig
import threading
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

OURS = __name__.partition(".")[0]

_lock = threading.Lock()
_under_way: set["ImportedModules"] = set()
_in_use: set[str] = set()  # what services that run have brought


class ImportedModules:
    """The modules that are there once a service's import has begun, and were not before.

    Python takes only the module that raised out of ``sys.modules``. Those that it had imported
    before stay, with what they hold of it, and without being run again: a circle of two modules
    would never come right, and code that was corrected would not count.

    Arguments:
        module: that the service is in.
    """

    def __init__(self, module: str) -> None:
        self._package = module.partition(".")[0]
        with _lock:
            self._before = set(sys.modules)
            self._alone = not _under_way
            for other in _under_way:
                other._alone = False
            _under_way.add(self)

    def keep(self) -> None:
        """The service runs: nobody else's failure takes its modules away."""
        with _lock:
            _under_way.discard(self)
            _in_use.update(self._brought())

    def forget(self) -> None:
        """The service failed: the next import of it runs its modules again.

        What is installed stays as Python leaves it: it was not corrected meanwhile, and much of it
        cannot be imported twice. Beside another import that is under way, nothing tells who brought
        what, and only the service's own package is taken.
        """
        with _lock:
            _under_way.discard(self)
            for name in self._brought() - _in_use:
                if self._is_to_go(name, sys.modules.get(name)):
                    sys.modules.pop(name, None)
        importlib.invalidate_caches()

    def _is_to_go(self, name: str, module: ModuleType | None) -> bool:
        package = name.partition(".")[0]
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if package == OURS or isinstance(loader, ExtensionFileLoader):
            return False
        return package == self._package or (self._alone and not _is_installed(module))

    def _brought(self) -> set[str]:
        return set(sys.modules) - self._before


def _is_installed(module: ModuleType | None) -> bool:
    """Whether a module belongs to Python or to a package that was installed, as far as is known."""
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return True
    places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    return not places or any(
        Path(str(place)).is_relative_to(folder) for place in places for folder in _INSTALLED
    )


_INSTALLED = [
    Path(folder)
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (folder := sysconfig.get_path(name))
]
