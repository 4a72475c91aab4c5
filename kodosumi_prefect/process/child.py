"""The process that a run is executed in, as its supervisor sees it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from kodosumi_prefect.process.channel import Channel

PROGRAM = "kodosumi_prefect.runner.child"


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
        out: what it writes its standard output to.
        err: likewise.
    """

    def __init__(
        self, environment: Mapping[str, str], folder: Path, end: Channel, out: int, err: int
    ) -> None:
        # Nothing that is secret among the arguments, which everybody on the machine can read.
        self._popen = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, str(end.fileno()), str(os.getpid())],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(end.fileno(),),
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
