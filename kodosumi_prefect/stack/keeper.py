"""Ends a stack's processes, also when the process that started them was killed.

Run as a file (``python -I -S keeper.py``), it reads records of processes from its stdin, one JSON
object a line, and ends them in order once its owner is gone. Only the standard library is
imported, so that it is small, starts at once, and works while the package is being replaced.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

LOOK_INTERVAL = 1.0  # seconds between checks whether the owner still lives
POLL_INTERVAL = 0.05  # seconds between checks whether processes are gone
LEFT_BEHIND_END_SECONDS = 3.0  # seconds for what a head left behind, and for SIGKILL to take effect


class Process(NamedTuple):
    """A running process; ``started`` distinguishes it from a later one with the same pid."""

    pid: int
    parent: int
    session: int
    started: str


class Record(NamedTuple):
    """A process to end, which leads a session of its own, with everything that came of it.

    Arguments:
        stop_signal: what it is asked with.
        grace: seconds it has for that, then everything left gets SIGKILL.
        ask_all: ask the leaders of sessions that its descendants made, too, and before itself.
        order: of several records, the one with the highest is ended first.
        leaders: pid and start of session leaders of the family seen so far.
    """

    name: str
    pid: int
    started: str
    stop_signal: int
    grace: float
    ask_all: bool
    order: int
    leaders: tuple[tuple[int, str], ...] = ()


def processes() -> dict[int, Process]:
    """Every process of this machine that is not a zombie."""
    if not Path("/proc/self/stat").exists():
        return _processes_by_ps()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    processes = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        # The name, in parentheses, may hold anything; what follows it does not.
        state, parent, _group, session, *rest = line.rpartition(")")[2].split()
        if state not in "ZX":
            pid = int(entry.name)
            processes[pid] = Process(pid, int(parent), int(session), f"{boot}:{rest[15]}")
    return processes


def _processes_by_ps() -> dict[int, Process]:
    # Without /proc (macOS) a process group stands for the session.
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    processes = {}
    for line in listed.splitlines():
        pid, parent, group, state, started = line.split(None, 4)
        if not state.startswith("Z"):
            processes[int(pid)] = Process(int(pid), int(parent), int(group), started.strip())
    return processes


def start_of(pid: int) -> str | None:
    """When a process was started, to recognise it later, or None if it does not run."""
    process = processes().get(pid)
    return process.started if process else None


def family(record: Record, table: dict[int, Process]) -> tuple[Record, list[Process]]:
    """What still runs of a record: its session, its descendants, and their sessions.

    Returns:
        The record with the session leaders seen now, and the processes.
    """
    leaders = {(record.pid, record.started), *record.leaders}
    members: dict[int, Process] = {}
    while True:
        # A dead leader's pid is not given away while its session has processes.
        ours = {
            pid for pid, started in leaders if pid not in table or table[pid].started == started
        }
        grown = {
            process.pid: process
            for process in table.values()
            if process.session in ours or process.parent in members or process.pid in members
        }
        leaders |= {
            (process.pid, process.started)
            for process in grown.values()
            if process.pid == process.session
        }
        if len(grown) == len(members):
            sessions = {process.session for process in grown.values()}
            seen = sorted(leader for leader in leaders if leader[0] in sessions)
            return record._replace(leaders=tuple(seen)), list(grown.values())
        members = grown


def end_family(record: Record, reap: Callable[[], Any] = lambda: None) -> bool:
    """End a record's family: ask, wait ``grace`` seconds, kill.

    Arguments:
        reap: called while waiting, so that a parent can collect its own child.

    Returns:
        Whether all of it is gone.
    """
    record, members = family(record, processes())
    leaders = {pid for pid, _started in record.leaders} - {record.pid}
    if record.ask_all and leaders:
        _send(record.stop_signal, [member for member in members if member.pid in leaders])
        record, members = _wait(record, record.grace / 2, reap, leaders, linger=0)
    if head := [member for member in members if member.pid == record.pid]:
        _send(record.stop_signal, head)
        record, members = _wait(record, record.grace, reap, {record.pid})
    for signal_number in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
        if not members:
            break
        if signal_number == signal.SIGTERM and any(one.pid == record.pid for one in members):
            continue  # it has been asked; what a head that is gone left behind has not
        _send(signal_number, members)
        record, members = _wait(record, LEFT_BEHIND_END_SECONDS, reap, set())
    return not members


def _wait(
    record: Record,
    patience: float,
    reap: Callable[[], Any],
    heads: set[int],
    linger: float = LEFT_BEHIND_END_SECONDS,
) -> tuple[Record, list[Process]]:
    """Wait ``patience`` seconds for a family; once ``heads`` are gone, ``linger`` for the rest."""
    deadline = time.monotonic() + patience
    awaited = bool(heads)
    while True:
        reap()
        record, members = family(record, processes())
        if awaited and not any(member.pid in heads for member in members):
            deadline = min(deadline, time.monotonic() + linger)
            awaited = False
        if not members or time.monotonic() > deadline:
            return record, members
        time.sleep(POLL_INTERVAL)


def _send(signal_number: int, targets: Iterable[Process]) -> None:
    for target in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target.pid, signal_number)


def _watch(owner: int) -> list[Record]:
    """Keep the records that the owner sends until it ends; what is left then is to be ended."""
    records: dict[str, Record] = {}
    pending = b""
    while os.getppid() == owner:
        if not select.select([0], [], [], LOOK_INTERVAL)[0]:
            continue
        received = os.read(0, 65536)
        if not received:
            break
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            fields = json.loads(line)
            if "started" in fields:
                fields["leaders"] = tuple(tuple(leader) for leader in fields["leaders"])
                records.pop(fields["name"], None)
                records[fields["name"]] = Record(**fields)
            elif "name" in fields:
                records.pop(fields["name"], None)
            else:
                return []
    return sorted(records.values(), key=lambda record: record.order, reverse=True)


def main() -> int:
    """Watch the owner; what it did not end itself is ended here."""
    # A terminal or a service manager signals the whole group; that must not end the keeper first.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gone = [end_family(record) for record in _watch(os.getppid())]
    return 0 if all(gone) else 1


if __name__ == "__main__":
    sys.exit(main())
