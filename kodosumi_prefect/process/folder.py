"""A flow run's own working folder, and the removal of those whose process was killed."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "kodosumi-run-"
MADE = 60.0  # seconds in which whoever makes a folder has locked it


@contextmanager
def working_folder() -> Iterator[Path]:
    """A new folder of the temporary directory for the time of the block.

    It is locked by its process, so that the next run on this node can tell which folders belonged
    to processes that were killed, and remove them.
    """
    remove_left()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    descriptor = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_left() -> None:
    """Remove folders whose process is gone; those of other users stay."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with suppress(OSError):  # its own process, or another that cleans up, was faster
            status = folder.lstat()
            mine = status.st_uid == os.geteuid()
            if not mine or time.time() - status.st_ctime < MADE:
                continue
            descriptor = _locked(folder)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """An open descriptor that holds the folder's lock; None if somebody else does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
