"""One process a node that has imported everything, and from which runs' processes are forked.

This is how Runners use it; what it does is in ``kodosumi_prefect.runner.nursery``.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pickle
import select
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.child import Descriptors
from kodosumi_prefect.process.start_time import at_start

PROGRAM = "kodosumi_prefect.process.nursery_program"
READY = 120.0  # seconds that it has to import what it is for
ANSWER = 10.0  # seconds that it has to fork
# What brings another Python, or other packages, than those of the nursery.
OTHER_PYTHON = frozenset(
    {"pip", "uv", "conda", "container", "image_uri", "py_executable", "py_modules", "working_dir"}
)

_PEER = struct.Struct("3i")  # pid, uid, gid


class NoNurseryError(Exception):
    """A process has to be started from nothing; says why."""


class WarmChild:
    """A process that was forked from a nursery; as ``child.Child``.

    Arguments:
        nursery: whose it is, and who may not outlive it.
    """

    def __init__(self, pid: int, nursery: "Nursery") -> None:
        self.pid = pid
        self._nursery = nursery

    def wait(self) -> int | None:
        if (status := self._nursery.status()) is None:
            self._wait_without_nursery()
        return status

    def close(self) -> None:
        pass

    def _wait_without_nursery(self) -> None:
        """The nursery, which alone hears how it ends, is gone; it goes on, and ends some time."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                ended = select.poll()
                ended.register(descriptor, select.POLLIN)
                ended.poll()
            finally:
                os.close(descriptor)


class Nursery:
    """A connection to this node's nursery, which lives as long as somebody has one.

    It ends what it forked for a connection when that ends, whatever the process is busy with.

    Arguments:
        line: the connection.
        variables: of the environment that mattered when it started.
    """

    def __init__(self, line: socket.socket, variables: Mapping[str, str]) -> None:
        self._socket = line
        self._line = Channel(line)
        self._variables = variables
        self.lost = False  # whether it is gone or has old code, and another is to be reached

    @classmethod
    def reach(cls, environment: Mapping[str, str], place: str) -> Self:
        """Connect to the nursery for an environment; it is started if there is none.

        Arguments:
            place: tells clusters apart.

        Raises:
            NoNurseryError: it cannot be had.
        """
        variables = at_start(environment)
        try:
            folder = _folder()
            path = folder / f"{_key(variables, place)}.socket"
            with _locked(path):
                line = _connected(path)
                if line is None:
                    _remove_left(folder)
                    line = _started(path, environment)
        except OSError as exc:
            raise NoNurseryError(str(exc)) from exc
        return cls(line, variables)

    def bear(
        self, environment: Mapping[str, str], folder: Path, end: Channel, descriptors: Descriptors
    ) -> WarmChild:
        """A new process; arguments as of ``ColdChild``.

        Raises:
            NoNurseryError: its environment is for a new process only, or the nursery is gone or
                has old code.
        """
        if at_start(environment) != self._variables:
            raise NoNurseryError("it has variables that matter at its start")
        body = pickle.dumps((dict(environment), str(folder)))
        # What is forked begins when it hears a byte, and ends if there will be none: one that
        # comes when nobody waits for it any more must not begin the run beside its replacement.
        hears, tells = os.pipe()
        try:
            self._socket.settimeout(ANSWER)
            socket.send_fds(self._socket, [b"f"], [hears, end.fileno(), *descriptors])
            self._line.send(body)
            pid: int | None = self._line.receive()
            self._socket.settimeout(None)
            if pid is not None:
                os.write(tells, b"b")
        except (EOFError, OSError) as exc:
            self._lose()
            raise NoNurseryError(f"the nursery is gone: {exc}") from exc
        finally:
            os.close(hears)
            os.close(tells)
        if pid is None:
            self._lose()
            raise NoNurseryError("code that the nursery has was changed")
        return WarmChild(pid, self)

    def status(self) -> int | None:
        """Wait for the end of the last process; its exit code, None if nobody will know it."""
        try:
            status: int = self._line.receive()
        except (EOFError, OSError):
            self._lose()
            return None
        return status

    def _lose(self) -> None:
        self.lost = True
        self._line.close()

    @property
    def pid(self) -> int:
        """Of its process."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid, _, _ = _PEER.unpack(credentials)
        return int(pid)

    def close(self) -> None:
        self._line.close()


def serves(runtime_env: Mapping[str, Any] | None) -> bool:
    """Whether runs of this ``runtime_env`` of Ray's have the packages that a nursery has."""
    if not hasattr(os, "pidfd_open"):
        return False  # macOS
    return not OTHER_PYTHON & {name for name, value in (runtime_env or {}).items() if value}


def _key(variables: Mapping[str, str], place: str) -> str:
    what = [version("kodosumi-prefect"), sys.executable, sys.prefix, place, dict(variables)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


def _folder() -> Path:
    """Where sockets are, which nobody else may open."""
    folder = Path(tempfile.gettempdir()) / f"kodosumi-nursery-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise NoNurseryError(f"{folder} is not ours alone")
    return folder


@contextlib.contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a socket's path; its file is there only while somebody holds it.

    Raises:
        BlockingIOError: somebody else has it, and this is not to wait.
    """
    lock = path.with_suffix(".lock")
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # Whoever had it before has removed that file.
            mine = lock.exists() and os.path.samestat(os.fstat(descriptor), lock.stat())
        except OSError:
            os.close(descriptor)
            raise
        if mine:
            break
        os.close(descriptor)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _remove_left(folder: Path) -> None:
    """Remove what nurseries and Runners left that were killed."""
    for path in {file.with_suffix(".socket") for file in folder.glob("*.*")}:
        with contextlib.suppress(OSError), _locked(path, wait=False):
            if (line := _connected(path)) is not None:
                line.close()
            else:
                path.unlink(missing_ok=True)


def _connected(path: Path) -> socket.socket | None:
    """A connection to a nursery that has what a process that started now would have."""
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(ANSWER)
        line.connect(str(path))
        Channel(line).receive()
        line.settimeout(None)
    except (EOFError, OSError):
        line.close()
        return None
    return line


def _started(path: Path, environment: Mapping[str, str]) -> socket.socket:
    """Start the nursery and connect to it; raises as ``Nursery.reach``."""
    path.unlink(missing_ok=True)
    raylet = os.environ.get("RAY_RAYLET_PID", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", PROGRAM, str(path), raylet],
        env={**environment},
        cwd=path.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + READY
    try:
        # It leaves this process's family at once, so that it does not end with it.
        if process.wait(READY) != 0:
            raise NoNurseryError("it could not be started")
    except subprocess.TimeoutExpired as exc:
        process.kill()
        raise NoNurseryError(str(exc)) from exc
    while time.monotonic() < until:
        was_there = path.exists()
        if (line := _connected(path)) is not None:
            return line
        if was_there and not path.exists():
            raise NoNurseryError("code was changed while it started")
        time.sleep(0.02)
    raise NoNurseryError(f"it was not there after {READY:g} s")
