"""The process that a run is executed in, as its supervisor sees it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from kodosumi_prefect.process.channel import Channel

PROGRAM = "kodosumi_prefect.runner.child"


class Descriptors(NamedTuple):
    """What a run's process is given to write to, descriptors of its supervisor.

    Attributes:
        out: its standard output, which its supervisor reads.
        err: its standard error, likewise.
        beside_out: where its supervisor's own standard output goes, for what it records itself.
        beside_err: likewise.
        memory: for its last words; its supervisor has it, too.
    """

    out: int
    err: int
    beside_out: int
    beside_err: int
    memory: int


class Child(Protocol):
    """A process with a session of its own.

    Attributes:
        pid: also of its process group.
    """

    pid: int

    def wait(self) -> int | None:
        """Its exit code once it has ended, negative for a signal; None if that is unknown."""

    def close(self) -> None:
        """Give back what is held for it."""


class ColdChild:
    """A process that starts with nothing, and with its environment complete.

    Arguments:
        end: its end of the channel.
    """

    def __init__(
        self, environment: Mapping[str, str], folder: Path, end: Channel, descriptors: Descriptors
    ) -> None:
        out, err, *others = descriptors
        inherited = [end.fileno(), *others]
        # Nothing that is secret among the arguments, which everybody on the machine can read.
        arguments = [str(os.getpid()), *map(str, inherited)]
        self._popen = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=inherited,
            start_new_session=True,
        )
        self.pid = self._popen.pid

    def wait(self) -> int | None:
        return self._popen.wait()

    def close(self) -> None:
        pass


def kill(child: Child) -> None:
    """End a process and what it started, now."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
