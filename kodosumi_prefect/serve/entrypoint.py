"""Where Prefect deployments name ``launch.entrypoint.run_entrypoint``."""

from kodosumi_prefect.launch.entrypoint import run_entrypoint

__all__ = ["run_entrypoint"]
