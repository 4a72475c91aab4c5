"""The owner's side of the keeper: which processes it ends if the owner is killed."""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from kodosumi_prefect.settings import Settings, read_address, write_address
from kodosumi_prefect.stack import keeper
from kodosumi_prefect.stack.keeper import Record
from kodosumi_prefect.stack.postgres_programs import environment

GOODBYE_TIMEOUT = 10.0  # seconds for the keeper to end once asked to


class KeeperClient:
    """Keeps the list of processes to end: with the keeper, and in a file for the next start.

    The file serves where the keeper died too. Safe to use from several threads.

    Arguments:
        lock_fd: file descriptor of the data dir's lock, which the keeper holds as well, so that
            nobody starts a stack there while it still ends the last one's processes.
    """

    def __init__(self, settings: Settings, lock_fd: int) -> None:
        self._settings = settings
        self._lock_fd = lock_fd
        self._mutex = threading.Lock()
        self._records: dict[str, Record] = {}
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        """Process id of the keeper."""
        return self._process.pid

    def add(self, record: Record) -> None:
        """Have a process ended; one of the same name is replaced."""
        with self._mutex:
            self._records.pop(record.name, None)
            self._records[record.name] = record
            self._note()
            self._tell(record._asdict())

    def drop(self, name: str) -> None:
        """Forget a process that was ended."""
        with self._mutex:
            if self._records.pop(name, None) is not None:
                self._note()
                self._tell({"name": name})

    def check(self) -> bool:
        """Start the keeper again if it died. Returns whether it had."""
        with self._mutex:
            if self._process.poll() is None:
                return False
            self._revive()
            return True

    def close(self) -> None:
        """Let the keeper end, as nothing is left to do, and wait for it."""
        with self._mutex:
            with contextlib.suppress(BrokenPipeError):
                self._write({})
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                self._process.wait(GOODBYE_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if not self._records:
                write_address(self._settings, "children", None)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(keeper.__file__).resolve())],
            bufsize=0,
            cwd="/",
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(self._lock_fd,),
        )

    def _revive(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = self._spawn()
        for record in self._records.values():
            self._write(record._asdict())

    def _tell(self, message: dict[str, object]) -> None:
        try:
            self._write(message)
        except BrokenPipeError:
            self._process.wait()
            self._revive()

    def _write(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def _note(self) -> None:
        records = [record._asdict() for record in self._records.values()]
        # The note is for when the keeper died as well; a full disk must not end the stack.
        with contextlib.suppress(OSError):
            write_address(self._settings, "children", {"records": records})


def leftovers(settings: Settings) -> list[Record]:
    """Processes that an earlier stack of this data dir noted and neither it nor its keeper ended.

    Raises:
        ValueError: the note is not readable.
    """
    noted = read_address(settings, "children") or {"records": []}
    records = []
    for fields in noted["records"]:
        leaders = tuple((pid, started) for pid, started in fields["leaders"])
        records.append(Record(**{**fields, "leaders": leaders}))
    return records
