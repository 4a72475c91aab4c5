"""Kodosumi's agentic flows as Prefect flows on Ray, with a durable event stream in Postgres.

What it offers is imported when it is first used: Prefect takes a second and 100 MB, and a process
that only asks for a module which needs no Prefect, as a Runner's does, has neither.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kodosumi_prefect import forms
    from kodosumi_prefect.budgets import BudgetExceededError
    from kodosumi_prefect.error import KodosumiError
    from kodosumi_prefect.flow import flow
    from kodosumi_prefect.forms import InputsError
    from kodosumi_prefect.launch.launch import Launch
    from kodosumi_prefect.serve.api import ServeAPI
    from kodosumi_prefect.tracer import Tracer, TracerMock, tracer

__all__ = [
    "BudgetExceededError",
    "InputsError",
    "KodosumiError",
    "Launch",
    "ServeAPI",
    "Tracer",
    "TracerMock",
    "__version__",
    "flow",
    "forms",
    "tracer",
]
__version__ = version("kodosumi-prefect")

_MODULES = {
    "BudgetExceededError": "kodosumi_prefect.budgets",
    "InputsError": "kodosumi_prefect.forms",
    "KodosumiError": "kodosumi_prefect.error",
    "Launch": "kodosumi_prefect.launch.launch",
    "ServeAPI": "kodosumi_prefect.serve.api",
    "Tracer": "kodosumi_prefect.tracer",
    "TracerMock": "kodosumi_prefect.tracer",
    "flow": "kodosumi_prefect.flow",
    "tracer": "kodosumi_prefect.tracer",
}
_SERVING = ("Launch", "ServeAPI")  # an image that only runs flows has no FastAPI


def _offered(name: str) -> Any:
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as exc:
        packages = ("fastapi", "jinja2", "httpx", "jwt", "starlette")
        if name not in _SERVING or exc.name not in packages:
            raise
        raise ImportError(
            f"{name} needs {exc.name}, which is not installed; install kodosumi-prefect[serve]"
        ) from exc


def __getattr__(name: str) -> Any:
    if name == "forms":
        return import_module("kodosumi_prefect.forms")
    if name not in _MODULES:
        raise AttributeError(f"module 'kodosumi_prefect' has no attribute {name!r}")
    return _offered(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _named(name: str) -> property:
    """What is called like its module. Importing that module would set it to the module."""

    def ignore(package: ModuleType, module: ModuleType) -> None:
        pass

    return property(lambda package: _offered(name), ignore)


class _Package(ModuleType):
    flow = _named("flow")
    tracer = _named("tracer")

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels by its name, as modules do for cloudpickle, which knows no subclass of theirs."""
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
