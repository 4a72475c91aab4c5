"""Child processes that ``multiprocessing`` forks: their output is recorded, and none is lost.

They end without Python's own clean-up, those of a pool by SIGTERM, so what they said is delivered
before that: at their end, and before each result of a pool is handed over.
"""

import logging
import multiprocessing
import signal
from concurrent.futures import process as executor_process
from multiprocessing import context, pool, util
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import Any, NamedTuple

from kodosumi_prefect.adapter import capture, log_files
from kodosumi_prefect.adapter.at_work import begin_work
from kodosumi_prefect.carried import carried
from kodosumi_prefect.scope import Scope, current_scope
from kodosumi_prefect.settings import Settings, get_settings, reset_settings
from kodosumi_prefect.spooler.client import deliver, get_client
from kodosumi_prefect.spooler.route import learn_instance

RESULT_DELIVERY_SECONDS = 1.0  # seconds that a result of a pool waits for the events before it
END_DELIVERY_SECONDS = 5.0  # seconds that a child's end waits for it; then it is in the spill file

_KEY = "kodosumi_prefect"  # in the configuration that multiprocessing gives to each child
_FORKSERVER = "forkserver"
_PACKAGE = "kodosumi_prefect.adapter.child_processes"  # and with it what it records by

logger = logging.getLogger(__name__)


class Belonging(NamedTuple):
    """What a child that inherits no memory gets to know about the code that started it.

    Attributes:
        scope: that code's.
        settings: as ``carried`` gives them.
        instance: the id of the database, if it is known.
        beside: descriptors of ``capture.descriptors``, if somebody else reads its output.
    """

    scope: Scope
    settings: dict[str, Any]
    instance: str | None
    beside: tuple[Any, ...] = ()


class _Teller:
    """Part of the configuration of a process, and pickled for its children as they start."""

    def __reduce__(self) -> tuple[Any, ...]:
        popen = context.get_spawning_popen()
        if getattr(popen, "method", None) != _FORKSERVER or not get_settings().enabled:
            return bool, ()
        scope = current_scope()
        if scope is None:
            return bool, ()
        settings = get_settings()
        try:
            instance = get_client(settings).instance()
            beside = tuple(map(DupFd, capture.descriptors()))
            belonging = Belonging(scope, carried(settings), instance, beside)
        except (OSError, ValueError) as exc:
            logger.warning("output of a child process is not recorded: %s", exc)
            return bool, ()
        _preload()
        return Belonging, tuple(belonging)


def _preload() -> None:
    """Have the fork server import this package once, and not each of its children by itself.

    It is not running yet when its first child is pickled. A list of the author's stays as it is.
    """
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    if server._preload_modules == ["__main__"]:
        server.set_forkserver_preload(["__main__", _PACKAGE])


class _DeliversFirst:
    """The queue of a pool's results: a task's events are stored before its result is known.

    After the last result a pool may end its processes at any moment.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def put(self, *args: Any) -> None:
        capture.finish(None)
        deliver(RESULT_DELIVERY_SECONDS)
        self._queue.put(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def _begin(_: "_Teller") -> None:
    """Called by multiprocessing in each child before its work, however it was started."""
    process: Any = multiprocessing.current_process()
    belonging = process._config.get(_KEY)
    process._config[_KEY] = _teller
    if isinstance(belonging, Belonging):
        reset_settings(Settings.model_validate(belonging.settings))
        learn_instance(belonging.instance)
        begin_work(belonging.scope)
        if belonging.beside:
            out, err, *ours = (one.detach() for one in belonging.beside)
            if ours:
                log_files.write_as_ours(out, err, *ours)
            else:
                capture.be_supervised(out, err)
        if get_settings().capture:
            capture.hold()
    util.Finalize(None, _end, exitpriority=0)
    _deliver_each_result(process)


def _deliver_each_result(process: BaseProcess) -> None:
    child: Any = process
    works = (pool.worker, executor_process._process_worker)  # type: ignore[attr-defined]
    if getattr(child, "_target", None) in works and len(child._args) > 1:
        work, results, *rest = child._args
        child._args = (work, _DeliversFirst(results), *rest)


def _end() -> None:
    # A pool ends its processes by SIGTERM while they end by themselves; both mean the same.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        capture.finish(None)
        deliver(END_DELIVERY_SECONDS, last=True)
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


_teller = _Teller()
multiprocessing.current_process()._config[_KEY] = _teller  # type: ignore[attr-defined]
# Children forget their parent's exit handlers, so each registers its own.
util.register_after_fork(_teller, _begin)
