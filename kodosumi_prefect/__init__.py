"""Kodosumi's agentic flows as Prefect flows on Ray, with a durable event stream in Postgres."""

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.flow import flow
from kodosumi_prefect.runner import ray_calls as _ray_calls  # noqa: F401  (binds native calls)
from kodosumi_prefect.settings import VERSION as __version__
from kodosumi_prefect.tracer import Tracer, TracerMock, tracer

__all__ = ["KodosumiError", "Tracer", "TracerMock", "__version__", "flow", "tracer"]
