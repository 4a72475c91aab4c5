"""The Ray job of a run's process: joined when something of Ray is used first, by whichever way.

Ray itself is imported by users' code or by task runners, so what is changed in it is changed when
that happens. Three things bring a process to the cluster, each where the others do not reach: what
is here has Ray get the flow's code, in the process of a run; ``RAY_ADDRESS`` in its environment
names the cluster to whatever uses Ray by itself, other task runners among it; and
``task_runner.first_use`` does so where there is no Runner, and no such variable.
"""

import functools
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from kodosumi_prefect._compat.prefect_cancellation import STANDS_IN_FOR
from kodosumi_prefect._compat.ray import DRIVER_WINS, JOB_CONFIG, surround_worker_logs
from kodosumi_prefect.adapter import by_value
from kodosumi_prefect.adapter.capture import said_elsewhere
from kodosumi_prefect.runner.code_folder import TooLargeError, copied
from kodosumi_prefect.runner.ray_connection import sigterm_kept
from kodosumi_prefect.runner.ray_import import RAY, when_imported

WAITS = ("get", "wait")
INTERRUPTING = (signal.SIGTERM, signal.SIGALRM)  # Prefect's cancellation, and its timeouts

logger = logging.getLogger(__name__)


class RayJob:
    """What Ray gets to know of a run when its process becomes a driver.

    Arguments:
        address: of the cluster that the run's Runner is on; None for none.
        runtime_env: Ray's, of the Runner.
    """

    def __init__(self, address: str | None, runtime_env: dict[str, Any] | None) -> None:
        self._address = address
        self._runtime_env = runtime_env or {}
        self._function: Callable[..., Any] | None = None

    def expect(self) -> None:
        """Be there when Ray is imported."""
        when_imported(self._adapt)

    def loaded(self, function: Callable[..., Any]) -> None:
        """The flow's function, in whose file's folder tasks find modules, too."""
        self._function = function
        file = getattr(sys.modules.get(function.__module__), "__file__", None)
        # Ray has workers look into the folder of a driver's script, which this package is not.
        sys.argv[0] = file or str(Path.cwd() / "flow")
        if RAY in sys.modules:
            by_value.pickle_by_value(function)

    def _adapt(self, ray: Any) -> None:
        ray.init = self._joining(ray.init, ray.is_initialized)
        surround_worker_logs(said_elsewhere)
        for name in WAITS:
            setattr(ray, name, interruptible(getattr(ray, name)))
        if self._function is not None:
            by_value.pickle_by_value(self._function)

    def _joining(
        self, init: Callable[..., Any], has_joined: Callable[[], bool]
    ) -> Callable[..., Any]:
        @functools.wraps(init)
        def joining(address: str | None = None, *args: Any, **kwargs: Any) -> Any:
            asked = address or os.environ.get("RAY_ADDRESS")
            own_cluster = self._address is not None and asked in (self._address, "auto")
            if has_joined() or not own_cluster:
                with sigterm_kept():
                    return init(address, *args, **kwargs)
            own = kwargs.get("runtime_env") or {}
            with (
                sigterm_kept(),
                self._runtime_env_with_code(own) as runtime_env,
                _job_config(runtime_env),
            ):
                return init(address, *args, **kwargs)

        return joining

    @contextmanager
    def _runtime_env_with_code(self, own: Any) -> Iterator[dict[str, Any]]:
        """The Runner's ``runtime_env`` with the flow's code, unless it brings a folder itself."""
        if self._runtime_env.get("working_dir") or own.get("working_dir"):
            by_value.folders_of_workers = []
            _by_value(map(Path, by_value.code_folders))
            yield self._runtime_env
            return
        # A launched run begins in an empty folder; its code is where it was launched from.
        others = list(map(Path, by_value.code_folders))
        folder = others[0] if others else Path.cwd()
        try:
            with copied(folder) as code:
                by_value.folders_of_workers = [] if code is None else [str(folder)]
                _by_value(others if code is None else others[1:])
                yield self._runtime_env if code is None else self._with_code(folder, code)
        except TooLargeError as exc:
            by_value.folders_of_workers = []
            _by_value(others)
            logger.warning("modules beside the flow do not reach its Ray tasks: %s", exc)
            yield self._runtime_env

    def _with_code(self, folder: Path, code: Path) -> dict[str, Any]:
        runtime_env = self._runtime_env | {"working_dir": str(code)}
        beside = Path(sys.argv[0]).parent
        if folder != Path.cwd() or beside == folder or not beside.is_relative_to(folder):
            return runtime_env
        # Relative to the folder that a worker begins in, which is the copy.
        variables = dict(runtime_env.get("env_vars") or {})
        paths = [str(beside.relative_to(folder)), variables.get("PYTHONPATH")]
        variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        by_value.folders_of_workers = [str(beside), str(folder)]
        return runtime_env | {"env_vars": variables}


def _by_value(folders: Iterable[Path]) -> None:
    """What was imported from these folders does not reach Ray workers in another way."""
    for folder in folders:
        by_value.pickle_folder_by_value(str(folder))


@contextmanager
def _job_config(runtime_env: dict[str, Any]) -> Iterator[None]:
    """Have ``ray.init`` take a job's ``runtime_env``, and what its caller asks for before that."""
    if not runtime_env:
        yield
        return
    os.environ[JOB_CONFIG] = json.dumps({"runtime_env": runtime_env})
    os.environ[DRIVER_WINS] = "1"
    try:
        yield
    finally:
        os.environ.pop(JOB_CONFIG, None)
        os.environ.pop(DRIVER_WINS, None)


def interruptible(wait: Callable[..., Any]) -> Callable[..., Any]:
    """A wait of Ray's that lets handlers of signals raise what they want.

    Ray lets nothing but KeyboardInterrupt out of its waits, so that is what is raised there, and
    the signal's own handler is called outside of it.
    """

    @functools.wraps(wait)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return wait(*args, **kwargs)
        came: list[tuple[int, FrameType | None]] = []

        def standing_in(handler: Callable[..., Any]) -> Callable[..., Any]:
            def interrupt(number: int, frame: FrameType | None) -> None:
                came.append((number, frame))
                raise KeyboardInterrupt

            setattr(interrupt, STANDS_IN_FOR, handler)
            return interrupt

        handlers: dict[int, Callable[..., Any]] = {
            number: handler
            for number in INTERRUPTING
            if callable(handler := signal.getsignal(number))
        }
        for number, handler in handlers.items():
            signal.signal(number, standing_in(handler))
        try:
            return wait(*args, **kwargs)
        except KeyboardInterrupt:
            if not came:
                raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        number, frame = came[0]
        handlers[number](number, frame)  # raises, as a rule
        return waiting(*args, **kwargs)

    return waiting
