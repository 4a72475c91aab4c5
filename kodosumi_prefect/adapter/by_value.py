"""Code that Ray workers could not import, and therefore get by value."""

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from kodosumi_prefect.spooler.route import in_ray_worker

PACKAGE = "kodosumi_prefect"

# What of this process's folders its Ray workers have, too; None if Ray itself sees to that.
folders_of_workers: list[str] | None = None

# Folders that only this process looks into, and that it imported code from.
code_folders: list[str] = []


def pickle_by_value(function: Any) -> None:
    """Have Ray pickle a function's module by value if workers could not import it.

    That is so for flows that Prefect loaded from a file, and for what they import from beside it:
    Prefect extends the search path of its own process only.
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return
    if _settled.get(module.__name__) == len(sys.modules):
        return
    # Repeated after each new import, which may happen inside the flow.
    _settled[module.__name__] = len(sys.modules)
    if not was_loaded_from_file(module):
        return
    from ray import cloudpickle

    by_value: Callable[[ModuleType], None] = cloudpickle.register_pickle_by_value
    by_value(module)
    folder = Path(str(module.__file__)).parent
    for name, other in sys.modules.copy().items():
        if (
            isinstance(other, ModuleType)
            and other is not module
            and name.partition(".")[0] != PACKAGE
            and name == other.__name__
            and _lies_in(other, folder)
            and not _is_found_by_workers(other)
        ):
            by_value(other)


def imported_from(folders: list[str]) -> None:
    """Code was imported from folders that only this process looks into."""
    code_folders.extend(folders)
    if "ray" in sys.modules:
        for folder in folders:
            pickle_folder_by_value(folder)


def pickle_folder_by_value(folder: str) -> None:
    """Have Ray pickle what was imported from a folder by value."""
    from ray import cloudpickle

    by_value: Callable[[ModuleType], None] = cloudpickle.register_pickle_by_value
    for name, module in sys.modules.copy().items():
        if (
            isinstance(module, ModuleType)
            and name.partition(".")[0] != PACKAGE
            and name == module.__name__
            and _lies_in(module, Path(folder))
        ):
            by_value(module)


_settled: dict[str, int] = {}  # modules by name, and how many were imported then


def was_loaded_from_file(module: ModuleType) -> bool:
    """Whether Prefect made this module of a script: a plain file with a package's search path."""
    spec = module.__spec__
    if spec is None or spec.submodule_search_locations is None or not module.__file__:
        return False
    return Path(module.__file__).name != "__init__.py"


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    installed = (Path(sys.prefix), Path(sys.base_prefix))
    path = Path(file)
    return path.is_relative_to(folder) and not any(path.is_relative_to(p) for p in installed)


def _is_found_by_workers(module: ModuleType) -> bool:
    """Whether Ray workers import it by the folders they take over: current one and script's.

    They are those of the process that connected to Ray, so from inside a Ray worker they are
    unknown.
    """
    if in_ray_worker():
        return False
    top = module.__name__.partition(".")[0]
    folders = folders_of_workers
    if folders is None:
        folders = [str(Path.cwd()), str(Path(sys.argv[0]).resolve().parent) if sys.argv else ""]
    return PathFinder.find_spec(top, folders) is not None
