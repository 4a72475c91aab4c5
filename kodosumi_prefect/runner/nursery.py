"""The nursery: what ``kodosumi_prefect.process.nursery_program`` becomes.

It holds Prefect and this package, and no code of anybody's: that is only imported in what is forked
from it. It has one thread, no event loop, no client of anything, so that a fork inherits nothing
that is at work. Once a file that it has imported was changed it forks no more: another is started.
"""

import contextlib
import gc
import importlib
import os
import pickle
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.child import Descriptors

# Imported before there is work. No user code may ever be imported here.
AHEAD = (
    "kodosumi_prefect.runner.child",
    "kodosumi_prefect.runner.execute",
    "kodosumi_prefect.runner.aftermath",
    "kodosumi_prefect.flow",
    "prefect.deployments.steps.core",
    "prefect.deployments.steps.pull",
    "prefect.filesystems",
    "prefect.runtime",
)
# What those import when they are used; some of it is theirs alone, and may go.
LATER = (
    "anyio._backends._asyncio",
    "encodings.idna",
    "pydantic.v1",
    "rich._emoji_codes",
)
DESCRIPTORS = 2 + len(Descriptors._fields)  # that come with a request
HALF = 5.0  # seconds in which the rest of a message comes, or is taken
LINGER = 10.0  # seconds that it stays when nobody is connected
FIRST = 90.0  # seconds until somebody must have connected


class Born(NamedTuple):
    """What a forked process begins with.

    Attributes:
        channel: to its supervisor.
        others: descriptors that ``runner.child`` is given beside it.
        environment: all of it.
        folder: that it works in.
    """

    channel: Channel
    others: list[int]
    environment: dict[str, str]
    folder: str


def main() -> None:
    """Serve until nobody needs it; in a forked process, execute its run.

    The arguments are a socket's path and the pid of the node's raylet.
    """
    path, raylet = sys.argv[1], int(sys.argv[2])
    began = time.time_ns()
    for name in AHEAD:
        importlib.import_module(name)
    for name in LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from kodosumi_prefect._compat.prefect import build_models
    from kodosumi_prefect._compat.prefect_tls import share_tls_context

    build_models()
    share_tls_context()
    code = _Code(began)
    gc.collect()
    gc.freeze()  # or the collector writes to, and so copies, every page in each fork
    born = _Nursery(path, raylet, code).serve()
    if born is None:
        os._exit(0)
    _settle(born)
    from kodosumi_prefect.runner.child import serve

    serve(born.channel, *born.others)


class _Code:
    """The files that this process has imported.

    Arguments:
        began: before the first was, in nanoseconds since the epoch.
    """

    def __init__(self, began: int) -> None:
        files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
        self._files = {file: _identity(file) for file in files if isinstance(file, str)}
        # One that was written meanwhile may have been imported before.
        self._changed = any(one is None or one[0] >= began for one in self._files.values())

    @property
    def changed(self) -> bool:
        """Whether a process that started now would have other code."""
        self._changed = self._changed or any(
            _identity(file) != before for file, before in self._files.items()
        )
        return self._changed


def _identity(file: str) -> tuple[int, int, int] | None:
    """Changes when a file does; an installer may give a new one an old time."""
    try:
        status = os.stat(file)  # noqa: PTH116  # a thousand of them, for each run
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class _Nursery:
    """The loop that forks, and that tells how what was forked ended."""

    def __init__(self, path: str, raylet: int, code: _Code) -> None:
        self._path = path
        self._code = code
        self._selector = selectors.DefaultSelector()
        self._lines: dict[int, socket.socket] = {}  # whose a process is, by its pid
        self._connected = 0
        self._alone_since: float | None = time.monotonic() + FIRST - LINGER
        self._ends = False
        with contextlib.suppress(ProcessLookupError):
            if raylet:
                self._watch(os.pidfd_open(raylet), self._raylet_ended)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._inode = Path(path).stat().st_ino
        self._listening.listen(512)
        self._watch(self._listening, self._accept)

    def serve(self) -> Born | None:
        """Fork for whoever asks; returns in a forked process, and None when nobody needs it."""
        while not self._ends:
            for key, _ in self._selector.select(1.0):
                born: Born | None = key.data(key.fileobj)
                if born is not None:
                    return born
            alone = self._alone_since
            if alone is not None and time.monotonic() - alone > LINGER:
                break
        self._hide()
        return None

    def _watch(self, source: object, then: object) -> None:
        self._selector.register(source, selectors.EVENT_READ, then)  # type: ignore[arg-type]

    def _hide(self) -> None:
        """Be found no more; another may have the path by now."""
        with contextlib.suppress(OSError):
            if Path(self._path).stat().st_ino == self._inode:
                Path(self._path).unlink()

    def _raylet_ended(self, _: int) -> None:
        """The node is gone, and so is whoever supervised."""
        for pid in self._lines:
            _kill(pid)
        self._ends = True

    def _accept(self, listening: socket.socket) -> None:
        line, _ = listening.accept()
        line.settimeout(HALF)
        if self._code.changed:
            self._hide()
            line.close()
            self._ends = not self._connected
            return
        with contextlib.suppress(OSError):
            Channel(line).send(None)
        self._connected += 1
        self._alone_since = None
        self._watch(line, self._asked)

    def _asked(self, line: socket.socket) -> Born | None:
        """Fork for somebody, or note that they are gone."""
        descriptors: list[int] = []
        try:
            mark, descriptors, _, _ = socket.recv_fds(line, 1, DESCRIPTORS)
            if not mark:
                raise EOFError
            environment, folder = pickle.loads(Channel(line).receive())
            if len(descriptors) != DESCRIPTORS:
                raise ValueError(f"{len(descriptors)} descriptors")
            if self._code.changed:
                self._hide()
                Channel(line).send(None)
                _close(descriptors)
                return None
            pid = os.fork()
        except Exception:  # whatever one of them sends, the others are to go on
            _close(descriptors)
            self._forget(line)
            return None
        if pid == 0:
            return _begin(descriptors, environment, folder)
        _close(descriptors)
        self._lines[pid] = line
        try:
            self._watch(os.pidfd_open(pid), lambda handle: self._ended(pid, handle))
            Channel(line).send(pid)
        except OSError:
            self._forget(line)
        return None

    def _ended(self, pid: int, handle: int) -> None:
        self._selector.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(pid, 0)
        line = self._lines.pop(pid, None)
        if line is not None:
            with contextlib.suppress(OSError):
                Channel(line).send(os.waitstatus_to_exitcode(status))

    def _forget(self, line: socket.socket) -> None:
        """End what was forked for somebody who is gone; it may be busy and not notice."""
        for pid in [pid for pid, one in self._lines.items() if one is line]:
            _kill(pid)
        self._selector.unregister(line)
        line.close()
        self._connected -= 1
        if not self._connected:
            self._alone_since = time.monotonic()


def _begin(descriptors: list[int], environment: dict[str, str], folder: str) -> Born:
    """Become a process of its own, once its supervisor has heard of it."""
    try:
        os.setsid()
        begin, end, out, err, *others = descriptors
        os.dup2(out, 1)
        os.dup2(err, 2)
        stay = [os.dup2(one, os.dup(one), inheritable=False) for one in (end, *others)]
        begins = os.dup(begin)
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor > 2 and descriptor not in (*stay, begins):
                _close([descriptor])
        if not os.read(begins, 1):
            os._exit(1)  # nobody waits for it any more
        os.close(begins)
        return Born(Channel.of(stay[0]), stay[1:], environment, folder)
    except BaseException:
        os._exit(1)  # never go on as a second nursery


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _kill(pid: int) -> None:
    """End a process that was forked here, and its group, if it has that already."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _settle(born: Born) -> None:
    """Make a forked process what one that starts in this environment and folder is."""
    os.environ.clear()
    os.environ.update(born.environment)
    time.tzset()
    os.chdir(born.folder)
    sys.path[0] = born.folder
    sys.argv = [str(Path(__file__).with_name("child.py"))]
    signal.set_wakeup_fd(-1)
