"""Classes by where they can be imported from."""

import importlib
import sys
from collections.abc import Iterable
from typing import Any

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.forms.bounds import Fault, Path


class UntravelledError(KodosumiError):
    """A value cannot be taken to another process, in one line that begins with where it stands."""

    def __init__(self, path: Iterable[Any], why: str) -> None:
        self.path = tuple(path)
        place = Fault(("inputs", *self.path), "").below.removesuffix(": ")
        super().__init__(f"{place}: {why}" if place else why)
        self.why = why


def importable(kind: Any, path: Path) -> str:
    """Where a class can be imported from.

    Raises:
        UntravelledError: nowhere.
    """
    module, name = getattr(kind, "__module__", None), getattr(kind, "__qualname__", None)
    if module == "__main__":
        raise UntravelledError(
            path, f"class {name} is in the script that was started; move it into a module"
        )
    if getattr(kind, "__pydantic_generic_metadata__", {}).get("origin") is not None:
        raise UntravelledError(
            path, f"{module}.{name} has no name of its own; give a class that derives from it"
        )
    current: Any = sys.modules.get(str(module))
    for part in str(name).split("."):
        current = getattr(current, part, None)
    if current is not kind or not isinstance(kind, type):
        raise UntravelledError(
            path,
            f"{module}.{name} cannot be imported by the process of the run; define it as a class "
            "at the top of a module",
        )
    return f"{module}:{name}"


def imported(place: str) -> Any:
    module, _, name = place.partition(":")
    current: Any = importlib.import_module(module)
    for part in name.split("."):
        current = getattr(current, part)
    if not isinstance(current, type):
        raise UntravelledError((), f"{place} is no class")
    return current


def subclass(place: str, base: type[Any]) -> Any:
    kind = imported(place)
    if not issubclass(kind, base):
        raise UntravelledError((), f"{place} is no {base.__name__}")
    return kind
