"""Batches that Postgres refuses for good: kept in a file, so that nothing waits behind them."""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from kodosumi_prefect.spooler.batch import Batch, pack, unpack
from kodosumi_prefect.spooler.spill import make_folder

SUFFIX = ".refused"

logger = logging.getLogger(__name__)

Name = tuple[str, str, int]  # a batch's execution, writer and number


class RefusedError(Exception):
    """The database refuses some batches even with placeholders; all others are stored.

    Attributes:
        names: execution, writer and number of each of them.
        reason: the database's message, in one line.
    """

    def __init__(self, names: Sequence[Name], reason: str) -> None:
        super().__init__(f"{len(names)} batches were refused: {reason}")
        self.names = [tuple(name) for name in names]
        self.reason = reason

    def of(self, batch: Batch) -> bool:
        """Whether this batch is one of them."""
        return (batch.fid, batch.writer, batch.number) in self.names


class Refused:
    """Keeps refused batches in a file of its own in ``folder``; made when there are some."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid4()}{SUFFIX}"

    def keep(self, batches: list[Batch], reason: str) -> None:
        """Write batches behind the others.

        Raises:
            OSError: the disk is full or the folder cannot be written; they are not kept.
        """
        make_folder(self.path.parent)
        with _locked(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND) as fd:
            size = os.fstat(fd).st_size
            line = pack(batches)
            try:
                written = 0
                while written < len(line):
                    written += os.write(fd, line[written:])
            except OSError:
                os.ftruncate(fd, size)
                raise
        events = sum(len(batch.events) for batch in batches)
        logger.error(
            "Postgres refused %d events of %s (%s); they are kept in %s, later events are stored. "
            "`kodosumi-prefect spool replay` tries them again",
            events,
            ", ".join(sorted({batch.fid for batch in batches})),
            reason,
            self.path,
        )


def files(folder: Path) -> list[Path]:
    """The files of refused batches, oldest name first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def replay(path: Path, deliver: Callable[[list[Batch]], None]) -> tuple[int, int]:
    """Try the batches of a file again; those that are refused again stay.

    Returns:
        How many lines of the file were delivered, and how many stay.

    Raises:
        Exception: what else ``deliver`` raised; the file is left as it was.
    """
    delivered = 0
    left: list[bytes] = []
    with _locked(path, os.O_RDWR) as fd:
        with os.fdopen(os.dup(fd), "rb") as file:
            lines = file.readlines()
        for line in lines:
            try:
                deliver(unpack(line))
                delivered += 1
            except (RefusedError, ValueError) as exc:
                logger.warning("a delivery in %s is refused again and kept: %s", path, exc)
                left.append(line)
        if not left:
            path.unlink()
        elif delivered:
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"".join(left), 0)
    return delivered, len(left)


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[int]:
    """The file, opened and locked; anew if somebody removed it meanwhile."""
    while True:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                yield fd
                return
        finally:
            os.close(fd)
