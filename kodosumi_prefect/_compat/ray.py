"""Ray's private API, as read in Ray 2.60.0. Imports no Ray: most processes have none."""

import functools
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

CLI_MODULE = "ray.scripts.scripts"  # ``python -m`` it, as the script ``ray`` does
CONNECTION_LOGGER = "ray._private.worker"  # of ``ray.init``
NO_SIGTERM_HANDLER = "SIGTERM handler is not set"  # what it says in other threads than the main one
DRIVER_THREADS = "ray_"  # begins the names of threads that print workers' output in the driver
# The environment variables by which ``ray job submit`` gives a driver its job's ``runtime_env``, as
# JSON, and has what the driver itself asks for win.
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
DRIVER_WINS = "RAY_OVERRIDE_JOB_RUNTIME_ENV"
# Begin the lines of its own that Ray writes into the files of a worker's output, between colons.
LOG_MARKERS = (b"task_name", b"actor_name", b"job_id")
AUTOSCALING_STATUS = "__autoscaling_status"  # the key of what the autoscaler last said


def runs_in_worker() -> bool:
    """Whether this process, which is connected to Ray, runs its tasks or an actor."""
    worker: Any = sys.modules["ray._private.worker"]
    return bool(worker.global_worker.mode == worker.WORKER_MODE)


def surround_worker_logs(block: Callable[[], AbstractContextManager[None]]) -> None:
    """Have the driver print workers' output within a block, whichever thread prints it.

    A thread of Ray's does; what it held back as repetitions is printed by whoever disconnects.
    """
    worker: Any = import_module("ray._private.worker")
    print_worker_logs = worker.print_worker_logs

    @functools.wraps(print_worker_logs)
    def printing(*args: Any, **kwargs: Any) -> Any:
        with block():
            return print_worker_logs(*args, **kwargs)

    worker.print_worker_logs = printing


def reread_environment() -> None:
    """Have an imported Ray forget what it read of ``RAY_AUTH_…`` and of ``LOOPBACK_ONLY``.

    It read its environment when it was imported: the authentication mode into its C++
    configuration, the token into a cache, the loopback question into a module constant.
    """
    constants: Any = import_module("ray._private.ray_constants")
    constants.ENABLE_RAY_CLUSTER = False
    core: Any = import_module("ray._raylet")
    core.Config.initialize("")
    core.AuthenticationTokenLoader.instance().reset_cache()


def ask_head(timeout: float) -> None:
    """Ask the head of the cluster anything, at most ``timeout`` seconds.

    Through a Ray client nothing is asked: it ends with its server.

    Raises:
        ray.exceptions.AuthenticationError: it is another cluster's head.
        ray.exceptions.RpcError: it does not answer.
    """
    worker: Any = import_module("ray._private.worker")
    gcs: Any = getattr(worker.global_worker, "gcs_client", None)
    if gcs is not None:
        gcs.internal_kv_get(AUTOSCALING_STATUS.encode(), None, timeout=timeout)


def autoscaling_status() -> bytes | None:
    """What the autoscaler last said, as JSON; None if it said nothing yet."""
    kv: Any = import_module("ray.experimental.internal_kv")
    status: bytes | None = kv._internal_kv_get(AUTOSCALING_STATUS)
    return status


def upload_folders(runtime_env: Mapping[str, Any], logger: logging.Logger) -> dict[str, Any]:
    """A ``runtime_env`` whose local folders are on the cluster, as ``ray.init`` does for its own.

    Arguments:
        logger: told what is uploaded.
    """
    working_dir: Any = import_module("ray._private.runtime_env.working_dir")
    py_modules: Any = import_module("ray._private.runtime_env.py_modules")
    uploaded: dict[str, Any] = working_dir.upload_working_dir_if_needed(
        dict(runtime_env), include_gitignore=True, logger=logger
    )
    if uploaded.get("py_modules"):
        uploaded = py_modules.upload_py_modules_if_needed(
            uploaded, include_gitignore=True, logger=logger
        )
    return uploaded
