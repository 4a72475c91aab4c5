"""Agentic services: endpoints in front, entrypoints behind."""

from importlib import import_module
from typing import Any

# What Kodosumi services import from here, too; when it is used, since it needs FastAPI.
_MODULES = {
    "Launch": "kodosumi_prefect.launch.launch",
    "ServeAPI": "kodosumi_prefect.serve.api",
    "Templates": "kodosumi_prefect.serve.jinja",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
