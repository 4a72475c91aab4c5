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
from collections.abc import Mapping
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
    """A process that was forked from a nursery; as ``child.Child``."""

    def __init__(self, pid: int, line: Channel) -> None:
        self.pid = pid
        self._line = line

    def wait(self) -> int | None:
        try:
            status: int = self._line.receive()
        except (EOFError, OSError):
            self._wait_without_nursery()
            return None
        return status

    def close(self) -> None:
        pass

    def _wait_without_nursery(self) -> None:
        """The nursery, which alone hears how it ends, is gone; it goes on, and ends some time."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                select.select([descriptor], [], [])
            finally:
                os.close(descriptor)


class Nursery:
    """A connection to this node's nursery, which lives as long as somebody has one.

    Arguments:
        line: the connection.
        variables: of the environment that mattered when it started.
    """

    def __init__(self, line: socket.socket, variables: Mapping[str, str]) -> None:
        self._socket = line
        self._line = Channel(line)
        self._variables = variables
        self.lost = False  # whether it is gone, and another is to be reached

    @classmethod
    def reach(cls, environment: Mapping[str, str], place: str) -> Self:
        """Connect to the nursery for an environment; it is started if there is none.

        Arguments:
            place: tells clusters apart.

        Raises:
            NoNurseryError: it cannot be had.
        """
        variables = at_start(environment)
        path = _folder() / f"{_key(variables, place)}.socket"
        try:
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                line = _connected(path) or _started(path, environment)
        except OSError as exc:
            raise NoNurseryError(str(exc)) from exc
        return cls(line, variables)

    def bear(
        self, environment: Mapping[str, str], folder: Path, end: Channel, descriptors: Descriptors
    ) -> WarmChild:
        """A new process; arguments as of ``ColdChild``.

        Raises:
            NoNurseryError: its environment is for a new process only, or the nursery is gone.
        """
        if at_start(environment) != self._variables:
            raise NoNurseryError("it has variables that matter at its start")
        body = pickle.dumps((dict(environment), str(folder)))
        try:
            self._socket.settimeout(ANSWER)
            socket.send_fds(self._socket, [b"f"], [end.fileno(), *descriptors])
            self._line.send(body)
            pid: int = self._line.receive()
            self._socket.settimeout(None)
        except (EOFError, OSError) as exc:
            self.lost = True
            raise NoNurseryError(f"the nursery is gone: {exc}") from exc
        return WarmChild(pid, self._line)

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


def _connected(path: Path) -> socket.socket | None:
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(str(path))
    except OSError:
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
        if (line := _connected(path)) is not None:
            return line
        time.sleep(0.02)
    raise NoNurseryError(f"it was not there after {READY:g} s")
