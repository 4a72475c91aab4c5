"""Log files that other processes append to: whether they grow, and not for ever."""

import os
import time
from pathlib import Path

LOG_BYTES = 10 * 1024 * 1024  # a log larger than this is cut to its newest tenth


def trim_log(path: Path, limit: int = LOG_BYTES) -> None:
    """Cut a log that another process appends to down to its newest tenth.

    Arguments:
        limit: bytes the file may have before it is cut.
    """
    try:
        if path.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    with path.open("rb+") as log:
        log.seek(-limit // 10, os.SEEK_END)
        log.readline()
        newest = log.read()
        log.seek(0)
        log.write(newest)
        log.truncate()


class GrowingLog:
    """The log of a server that starts: as long as it grows, the start goes on.

    Arguments:
        seconds: without a line after which it does not grow any more.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._size = -1
        self._until = 0.0

    def grows(self) -> bool:
        """Whether it grew within the last seconds; ask every moment."""
        size = self._path.stat().st_size if self._path.exists() else 0
        now = time.monotonic()
        if size != self._size:
            self._size = size
            self._until = now + self._seconds
        return now < self._until
