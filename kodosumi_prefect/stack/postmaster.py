"""A running postmaster: its pid file, whether it is ours, and how to end it."""

import contextlib
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

from kodosumi_prefect.stack.postgres_programs import load_psutil

FAST_STOP_TIMEOUT = 30.0  # seconds for a fast shutdown, then it is an immediate one
IMMEDIATE_STOP_TIMEOUT = 10.0  # seconds for that, then SIGKILL
POLL_INTERVAL = 0.02  # seconds


class Postmaster(NamedTuple):
    """What a server writes about itself in its ``postmaster.pid``."""

    pid: int
    port: int
    status: str

    @classmethod
    def read(cls, cluster: Path) -> Self:
        """Read the file of a cluster.

        Raises:
            FileNotFoundError: no server runs there.
            ValueError: the server is still writing it.
        """
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        if len(lines) < 8:
            raise ValueError(f"{cluster}/postmaster.pid is not complete")
        return cls(int(lines[0]), int(lines[3]), lines[7].strip())


def survivor_of(cluster: Path) -> Any:
    """The postmaster of this cluster that outlived its owner, or None."""
    psutil = load_psutil()
    try:
        pid = int((cluster / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
        argv = process.cmdline()
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):
        return None
    # After a reboot the pid may be another's; only a postmaster is called with -D cluster.
    is_ours = len(argv) > 2 and Path(argv[0]).name == "postgres" and argv[2] == str(cluster)
    return process if is_ours and is_running(process) else None


def forget_foreign_pid(cluster: Path) -> None:
    """Remove a pid file that names a living process which is no postmaster of this cluster.

    Postgres would refuse to start for it. It removes all other stale ones itself, after a check
    for orphaned backends that needs the file.
    """
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists() or survivor_of(cluster) is not None:
        return
    first = pid_file.read_text().partition("\n")[0]
    if first.isdigit() and load_psutil().pid_exists(int(first)):
        pid_file.unlink()


def is_running(process: Any) -> bool:
    """Whether this very process (its pid and start time) still runs."""
    psutil = load_psutil()
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_postmaster(process: Any, child: subprocess.Popen[bytes] | None) -> None:
    """End a postmaster: fast shutdown, then an immediate one, then SIGKILL; returns once gone.

    Arguments:
        child: the same process if this one started it, so that it is reaped.
    """
    psutil = load_psutil()
    for signal_number, patience in (
        (signal.SIGINT, FAST_STOP_TIMEOUT),
        (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT),
        (signal.SIGKILL, IMMEDIATE_STOP_TIMEOUT),
    ):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal_number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if (child is not None and child.poll() is not None) or not is_running(process):
                return
            time.sleep(POLL_INTERVAL)
