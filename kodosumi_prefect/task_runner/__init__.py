"""Our Ray task runner: prefect-ray's, without its surprises."""

from kodosumi_prefect.runner.ray_connection import NoRayError
from kodosumi_prefect.task_runner.future import RayFuture, cancel_tasks
from kodosumi_prefect.task_runner.ray_task_runner import RayTaskRunner, default_task_runner
from kodosumi_prefect.task_runner.work import Carried, run_with_values

# What processes that have an older version of this package name when they submit to one with this.
_Carried = Carried
_run_task = run_with_values

__all__ = ["NoRayError", "RayFuture", "RayTaskRunner", "cancel_tasks", "default_task_runner"]
