"""Files of a folder: written beside, synced to the disk, then moved to where they belong."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

PARTIAL = "partial"  # below it is what is being written; what is old is of processes that are gone


def write_file(root: Path, key: str, pieces: Iterable[bytes], *, settled: bool = True) -> None:
    """Write a file of a folder, whole or not at all, in the memory of one piece.

    Arguments:
        key: its path in the folder.
        settled: it is on the disk when this returns; else a power failure may lose it.

    Raises:
        OSError: it is not written.
    """
    with _partial(root) as partial:
        with partial.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            if settled:
                file.flush()
                os.fsync(file.fileno())
        _move(partial, root / key, settled=settled)


def link_file(root: Path, source: str, target: str) -> None:
    """Have a file of a folder under another key too; it may be there already."""
    with _partial(root) as partial:
        partial.hardlink_to(root / source)
        os.utime(partial)  # it is new here; what is old and belongs to nothing is deleted
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _move(partial, root / target)


def partial_files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is being written, and what processes that are gone were writing."""
    with suppress(FileNotFoundError), os.scandir(root / PARTIAL) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it is written by now
                yield Path(entry.path), entry.stat(follow_symlinks=False)


def remove_empty_folders(root: Path) -> None:
    """Remove the folders below a path in which nothing is, and itself."""
    for folder, _, _ in os.walk(root, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            continue  # something is in it


@contextmanager
def _partial(root: Path) -> Iterator[Path]:
    """A name for what is being written; nothing is left there but by a process that is killed."""
    partial = root / PARTIAL / uuid4().hex
    partial.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)  # also after a move: of a link to the same file it is none


def _move(partial: Path, target: Path, *, settled: bool = True) -> None:
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.replace(target)
        except FileNotFoundError:
            if not partial.exists():
                raise
            continue  # an empty folder was removed meanwhile
        if settled:
            _sync_folder(target.parent)
        return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
