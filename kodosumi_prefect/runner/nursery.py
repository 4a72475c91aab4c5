"""The nursery: what ``kodosumi_prefect.process.nursery_program`` becomes.

It holds Prefect and this package, and no code of anybody's: that is only imported in what is forked
from it. It has one thread, no event loop, no client of anything, so that a fork inherits nothing
that is at work.
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
LINGER = 10.0  # seconds that it stays when nobody is connected
FIRST = 90.0  # seconds until somebody must have connected


class Born(NamedTuple):
    """What a forked process begins with.

    Attributes:
        channel: to its supervisor.
        kept: descriptors that ``runner.child`` is given beside it.
        environment: all of it.
        folder: that it works in.
    """

    channel: Channel
    kept: list[int]
    environment: dict[str, str]
    folder: str


def main() -> None:
    """Serve until nobody needs it; in a forked process, execute its run.

    The arguments are a socket's path and the pid of the node's raylet.
    """
    path, raylet = sys.argv[1], int(sys.argv[2])
    for name in AHEAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or the collector writes to, and so copies, every page in each fork
    born = _Nursery(path, raylet).serve()
    if born is None:
        os._exit(0)
    _settle(born)
    from kodosumi_prefect.runner.child import serve

    serve(born.channel, *born.kept)


class _Nursery:
    """The loop that forks, and that tells how what was forked ended."""

    def __init__(self, path: str, raylet: int) -> None:
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._lines: dict[int, Channel] = {}  # by the pid of the process that it waits for
        self._connected = 0
        self._alone_since: float | None = time.monotonic() + FIRST - LINGER
        self._ends = False
        with contextlib.suppress(ProcessLookupError):
            if raylet:
                self._watch(os.pidfd_open(raylet), self._raylet_ended)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
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
        with contextlib.suppress(OSError):
            Path(self._path).unlink()
        return None

    def _watch(self, source: object, then: object) -> None:
        self._selector.register(source, selectors.EVENT_READ, then)  # type: ignore[arg-type]

    def _raylet_ended(self, _: int) -> None:
        self._ends = True

    def _accept(self, listening: socket.socket) -> None:
        line, _ = listening.accept()
        self._connected += 1
        self._alone_since = None
        self._watch(line, self._asked)

    def _asked(self, line: socket.socket) -> Born | None:
        """Fork for somebody, or note that they are gone."""
        try:
            mark, descriptors, _, _ = socket.recv_fds(line, 1, 1 + len(Descriptors._fields))
            if not mark:
                raise EOFError
            channel = Channel(line)
            environment, folder = pickle.loads(channel.receive())
        except (EOFError, OSError):
            self._forget(line)
            return None
        pid = os.fork()
        if pid == 0:
            return self._born(descriptors, environment, folder)
        for descriptor in descriptors:
            os.close(descriptor)
        self._lines[pid] = channel
        self._watch(os.pidfd_open(pid), lambda handle: self._ended(pid, handle))
        with contextlib.suppress(OSError):
            channel.send(pid)
        return None

    def _born(self, descriptors: list[int], environment: dict[str, str], folder: str) -> Born:
        os.setsid()
        end, out, err, *others = descriptors
        os.dup2(out, 1)
        os.dup2(err, 2)
        kept = [os.dup2(one, os.dup(one), inheritable=False) for one in (end, *others)]
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor > 2 and descriptor not in kept:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        return Born(Channel.of(kept[0]), kept[1:], environment, folder)

    def _ended(self, pid: int, handle: int) -> None:
        self._selector.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            self._lines.pop(pid).send(os.waitstatus_to_exitcode(status))

    def _forget(self, line: socket.socket) -> None:
        self._selector.unregister(line)
        line.close()
        self._connected -= 1
        if not self._connected:
            self._alone_since = time.monotonic()


def _settle(born: Born) -> None:
    """Make a forked process what one that starts in this environment and folder is."""
    os.environ.clear()
    os.environ.update(born.environment)
    time.tzset()
    os.chdir(born.folder)
    sys.path[0] = born.folder
    sys.argv = [str(Path(__file__).with_name("child.py"))]
    signal.set_wakeup_fd(-1)
