"""Entrypoints by name: what ``module:callable`` stands for, and the name of an object."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prefect.flows import Flow

from kodosumi_prefect.adapter.crew import is_crew
from kodosumi_prefect.error import KodosumiError


class TargetError(KodosumiError):
    """There is no such entrypoint, in one line."""


def load(name: str) -> Any:
    """The object that ``module:callable`` or ``module.callable`` names.

    Raises:
        TargetError: nothing can be imported under that name, or it cannot be run.
    """
    module_name, colon, path = name.partition(":")
    target = _attribute(name, _module(name, module_name), path) if colon else _dotted(name)
    if not runnable(target):
        raise TargetError(
            f"entry point {name} is {type(target).__name__}, which can neither be called nor has "
            "kickoff()"
        )
    return target


def name_of(target: Any, namespace: Mapping[str, Any]) -> str:
    """The name under which another process imports an object.

    Arguments:
        namespace: the globals of the code that launches it, where objects without a name of their
            own, such as crews, are looked for.

    Raises:
        TargetError: other processes cannot import it.
    """
    if not runnable(target):
        raise TargetError(
            f"entry point {target!r} can neither be called nor has kickoff(); give a callable, a "
            'crew, or its name as "module:callable"'
        )
    function = inspect.unwrap(target.fn) if isinstance(target, Flow) else target
    module = getattr(function, "__module__", None)
    path = getattr(function, "__qualname__", None)
    if isinstance(module, str) and isinstance(path, str) and _stands_for(module, path, target):
        return _importable(f"{module}:{path}")
    for key, value in namespace.items():
        if value is target and isinstance(namespace.get("__name__"), str):
            return _importable(f"{namespace['__name__']}:{key}")
    what = f"{module}:{path}" if path else f"an object of {type(target).__name__}"
    raise TargetError(
        f"entry point {what} cannot be imported by the process that will run it; define it at the "
        'top of a module, or give its name as "module:callable"'
    )


def runnable(target: Any) -> bool:
    """Whether an entrypoint can be made of an object: a callable, or something to kick off."""
    return callable(target) or is_crew(target)


def folders_of(name: str) -> list[str]:
    """The folders from which this process imports an entrypoint, unless it is installed.

    A Runner of the same machine that does not find the module looks there.
    """
    top = name.partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        folders = [str(Path(place).parent) for place in spec.submodule_search_locations]
    else:
        folders = [str(Path(spec.origin).parent)] if spec.origin else []
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    return [
        folder
        for folder in dict.fromkeys(folders)
        if Path(folder).is_dir()
        and "site-packages" not in Path(folder).parts
        and not any(Path(folder).is_relative_to(prefix / "lib") for prefix in prefixes)
    ]


def _dotted(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            module = _module(name, module_name)
        except TargetError:
            if cut == 1:
                raise
            continue
        return _attribute(name, module, ".".join(parts[cut:]))
    raise TargetError(f'entry point {name} names no callable; write it as "module:callable"')


def _module(name: str, module_name: str) -> Any:
    if module_name == "__main__":
        raise TargetError(
            f"entry point {name} is in the script that was started, which other processes cannot "
            "import; move it into a module"
        )
    try:
        return importlib.import_module(module_name)
    except Exception as exc:  # importing runs the author's code
        reason = " ".join(str(exc).split())
        raise TargetError(
            f"entry point {name} cannot be imported: {type(exc).__name__}: {reason}"
        ) from exc


def _attribute(name: str, module: Any, path: str) -> Any:
    target = module
    for part in path.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise TargetError(
                f"entry point {name} cannot be imported: {module.__name__} has no {path}"
            ) from None
    return target


def _stands_for(module: str, path: str, target: Any) -> bool:
    current: Any = sys.modules.get(module)
    for part in path.split("."):
        current = getattr(current, part, None)
    if isinstance(target, partial):
        return False
    return current is target or (inspect.ismethod(target) and current == target)


def _importable(name: str) -> str:
    if name.startswith("__main__:"):
        _module(name, "__main__")
    return name
