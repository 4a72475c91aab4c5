"""The Runner's class; here, too, because workers of older releases ask for it by this place."""

from kodosumi_prefect.process.actor import Runner

__all__ = ["Runner"]
