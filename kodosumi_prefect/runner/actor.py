"""The Runner's class; here, too, because workers of older releases ask for it by this place."""

from kodosumi_runner.actor import Runner

__all__ = ["Runner"]
