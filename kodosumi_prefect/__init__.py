"""Kodosumi's agentic flows as Prefect flows on Ray, with a durable event stream in Postgres."""

from typing import TYPE_CHECKING, Any

from kodosumi_prefect import forms
from kodosumi_prefect.adapter import child_processes as _children  # noqa: F401  (records children)
from kodosumi_prefect.adapter import owners as _owners  # noqa: F401  (whose output it is)
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.flow import flow
from kodosumi_prefect.forms import InputsError
from kodosumi_prefect.settings import VERSION as __version__
from kodosumi_prefect.tracer import Tracer, TracerMock, tracer

if TYPE_CHECKING:
    from kodosumi_prefect.launch.launch import Launch
    from kodosumi_prefect.serve.api import ServeAPI

__all__ = [
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

# Imported at first use: an image that only runs flows has no FastAPI.
_SERVING = {"ServeAPI": "kodosumi_prefect.serve.api", "Launch": "kodosumi_prefect.launch.launch"}


def __getattr__(name: str) -> Any:
    module = _SERVING.get(name)
    if module is None:
        raise AttributeError(f"module 'kodosumi_prefect' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as exc:
        if exc.name not in ("fastapi", "jinja2", "httpx", "jwt", "starlette"):
            raise
        raise ImportError(
            f"{name} needs {exc.name}, which is not installed; install kodosumi-prefect[serve]"
        ) from exc
