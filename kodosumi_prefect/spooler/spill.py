"""Spill files: undelivered batches on disk, in order, for the next process if need be."""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kodosumi_prefect.settings import Settings, make_data_dir
from kodosumi_prefect.spooler.batch import Batch, pack, unpack

SUFFIX = ".spool"
DAMAGED = ".damaged"
TOGETHER = 64  # deliveries of a file that go into one transaction at most
TOGETHER_BYTES = 1 << 20  # likewise, unless one alone has more
NEWBORN = 60.0  # seconds in which an empty spill file without a lock may be just being made

logger = logging.getLogger(__name__)


def folder(settings: Settings) -> Path:
    """Where processes that write to the configured database keep their spill files.

    One folder a database, so that a batch is never delivered to another one; whoever has a token in
    place of a database, one a panel.
    """
    if settings.database_url is None and settings.run_token and settings.panel_url:
        target = f"panel {settings.panel_url.rstrip('/')}"
    elif settings.database_url is None:
        target = f"embedded {settings.data_dir}"
    else:
        # Without user and password, which may be changed while files wait.
        url = settings.database_url.get_secret_value()
        target = url.rpartition("@")[2] if "@" in url else url
    digest = hashlib.sha256(f"{target} {settings.database_schema}".encode()).hexdigest()
    return settings.spool_dir / digest[:16]


def make_folder(where: Path) -> None:
    """Make a folder as ``folder`` names it, for this user only.

    Raises:
        OSError: it cannot be made.
    """
    make_data_dir(where.parent.parent)
    for part in (where.parent, where):
        part.mkdir(mode=0o700, exist_ok=True)


class Spill:
    """A first-in-first-out file of deliveries, locked by the process that owns it.

    Arguments:
        path: the file; made when the first delivery is written, removed when the last was taken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._read_at = 0
        self._size = 0
        self._deliveries = 0
        self._oldest: list[bytes] = []

    def __len__(self) -> int:
        return self._deliveries

    @property
    def size(self) -> int:
        """Bytes not yet taken."""
        return self._size - self._read_at

    def append(self, batches: list[Batch]) -> None:
        """Write one delivery behind the others.

        Raises:
            OSError: the disk is full or the folder cannot be written; nothing was added.
        """
        line = pack(batches)
        fd = self._open()
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(fd, line[written:], self._size + written)
        except OSError:
            os.ftruncate(fd, self._size)
            raise
        self._size += len(line)
        self._deliveries += 1

    def oldest(self) -> list[list[Batch]]:
        """The oldest deliveries, as many as go together; they stay until ``drop``."""
        assert self._fd is not None
        if not self._oldest:
            self._oldest = _read_lines(self._fd, self._read_at)
        return [unpack(line) for line in self._oldest]

    def drop(self, deliveries: int) -> None:
        """Drop so many of ``oldest``, which were delivered."""
        dropped, self._oldest = self._oldest[:deliveries], self._oldest[deliveries:]
        self._read_at += sum(map(len, dropped))
        self._deliveries -= len(dropped)
        if not self._deliveries:
            self.path.unlink(missing_ok=True)
            self.abandon()

    def abandon(self) -> None:
        """Close the file and leave it as it is, without giving a parent process's lock back."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None
        self._read_at = self._size = self._deliveries = 0
        self._oldest = []

    def _open(self) -> int:
        if self._fd is None:
            make_folder(self.path.parent)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._fd = fd
        return self._fd


def orphans(where: Path) -> Iterator[Path]:
    """Spill files whose process has gone."""
    if not where.is_dir():
        return
    for path in sorted(where.glob(f"*{SUFFIX}"), key=_modified):
        try:
            fd = os.open(path, os.O_RDWR)
        except (FileNotFoundError, PermissionError):
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ended = os.fstat(fd).st_size > 0 or time.time() - _modified(path) > NEWBORN
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
        if ended:
            yield path


def first_fids(path: Path) -> list[str]:
    """The executions that the oldest delivery of a spill file is about."""
    try:
        with path.open("rb") as file:
            return [batch.fid for batch in unpack(file.readline())]
    except (OSError, ValueError):
        return []


def replay(path: Path, deliver: Callable[[list[Batch]], None]) -> Iterator[int]:
    """Deliver an orphaned spill file and remove it; yields how many deliveries were made so far.

    A damaged last line, which a killed process may leave, is dropped: it was never complete. A
    file that is damaged elsewhere is delivered as far as it can be read, and kept under another
    name.

    Arguments:
        deliver: stores what goes into one transaction, which may be several deliveries.

    Raises:
        Exception: what ``deliver`` raised; the file is left as it was, to be replayed again.
    """
    count = 0
    damaged = False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is working on it
        if not path.exists():
            return
        for lines in _together(file):
            deliveries = []
            for line in lines:
                try:
                    deliveries.append(unpack(line))
                except ValueError as exc:
                    logger.warning(
                        "%s is damaged (%s); it is kept with suffix %s", path, exc, DAMAGED
                    )
                    damaged = True
            if deliveries:
                deliver([batch for delivery in deliveries for batch in delivery])
                count += len(deliveries)
                yield count
        if damaged:
            path.replace(path.with_suffix(DAMAGED))
        else:
            path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _together(file: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, in portions that go into one transaction."""
    portion: list[bytes] = []
    size = 0
    for line in file:
        if not line.endswith(b"\n"):
            break
        if portion and (len(portion) == TOGETHER or size + len(line) > TOGETHER_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(line)
        size += len(line)
    if portion:
        yield portion


def _read_lines(fd: int, offset: int) -> list[bytes]:
    """Lines that go into one transaction, at least one."""
    content = os.pread(fd, TOGETHER_BYTES, offset)
    *lines, _ = content.split(b"\n")
    if not lines:
        return [_read_line(fd, offset)]
    return [line + b"\n" for line in lines[:TOGETHER]]


def _read_line(fd: int, offset: int) -> bytes:
    parts: list[bytes] = []
    while True:
        chunk = os.pread(fd, 1 << 20, offset)
        end = chunk.find(b"\n")
        if end >= 0:
            parts.append(chunk[: end + 1])
            return b"".join(parts)
        if not chunk:
            raise ValueError("a spill file ends in the middle of a delivery")
        parts.append(chunk)
        offset += len(chunk)
