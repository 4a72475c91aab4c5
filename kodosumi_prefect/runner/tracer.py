"""``Tracer``, where some Kodosumi services look for it."""

from kodosumi_prefect.tracer import Tracer

__all__ = ["Tracer"]
