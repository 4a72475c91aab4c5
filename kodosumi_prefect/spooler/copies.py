"""Copies on disk of unanswered deliveries, for the case that this process is killed."""

import fcntl
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from kodosumi_prefect.spooler.batch import Batch, pack
from kodosumi_prefect.spooler.spill import SUFFIX, make_folder

PART_BYTES = 8_000_000  # from which on a file is not written any further, so that it can go


class _Part:
    """One file of copies, locked as long as its process lives."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.path = folder / f"{uuid4()}{SUFFIX}"
        self.size = 0
        self.deliveries = 0
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.pwrite(self.fd, line[written:], self.size + written)
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += len(line)
        self.deliveries += 1

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


class Copies:
    """The oldest deliveries of a queue, on disk as long as it is unknown whether they are stored.

    They are spill files like others: the next process delivers those of a killed one, and the
    ledger sees to it that nothing is stored twice. A file goes as soon as what it holds is stored.

    Arguments:
        folder: of the database's spill files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: deque[_Part] = deque()
        self._count = 0

    def __len__(self) -> int:
        """How many deliveries are written down: the oldest ones of the queue."""
        return self._count

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(part.size for part in self._parts)

    def add(self, deliveries: Iterable[list[Batch]]) -> None:
        """Write down what comes behind those that are.

        Raises:
            OSError: the disk is full or the folder cannot be written; the rest is not written.
        """
        for delivery in deliveries:
            line = pack(delivery)
            if not self._parts or self._parts[-1].size > PART_BYTES:
                self._parts.append(_Part(self._folder))
            try:
                self._parts[-1].write(line)
            except OSError:
                if not self._parts[-1].deliveries:
                    self._parts.pop().remove()
                raise
            self._count += 1

    def drop(self) -> None:
        """The oldest delivery of the queue is stored, or safe elsewhere."""
        if not self._count:
            return
        self._count -= 1
        part = self._parts[0]
        part.deliveries -= 1
        if not part.deliveries:
            self._parts.popleft().remove()

    def clear(self) -> None:
        """Remove all of them."""
        self._count = 0
        while self._parts:
            self._parts.popleft().remove()

    def abandon(self) -> None:
        """Close the files and leave them as they are: after a fork they are the parent's."""
        self._count = 0
        while self._parts:
            os.close(self._parts.popleft().fd)
