"""Log files that other processes append to, kept from growing for ever."""

import os
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
