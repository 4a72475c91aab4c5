"""Files of a folder: written beside, moved to where they belong, and synced to the disk."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

PARTIAL = "partial"  # below it is what is being written; what is old is of processes that are gone


class PartialFile:
    """A file of a folder that is being written; a context manager, after which it is one or gone.

    Example:
        ```python
        with PartialFile(root) as partial:
            partial.write(b"content")
            partial.keep("objects/1")
        ```

    Raises:
        OSError: it cannot be made; as all methods.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = _partial_path(root)
        self._file = self._path.open("xb")

    def write(self, piece: bytes) -> None:
        """Write the next bytes."""
        self._file.write(piece)

    def keep(self, key: str, *, settled: bool = True) -> None:
        """Have it be whole, in the place of what was there.

        Arguments:
            key: its path in the folder.
            settled: it is on the disk when this returns; else a power failure may lose it.
        """
        self._file.flush()
        target = self._root / key
        # What is there already stays whole whatever happens. What is new is nobody's until this
        # returns, and synced after it was moved, the folder costs the disk no commit of its own.
        replaces = settled and target.exists()
        if replaces:
            os.fsync(self._file.fileno())
        _move(self._path, target)
        if settled:
            try:
                os.fsync(self._file.fileno())
                _sync_folder(target.parent)
            except OSError:
                if not replaces:
                    target.unlink(missing_ok=True)
                raise

    def close(self) -> None:
        """Nothing of it is left, unless it was kept."""
        with suppress(OSError):  # of what a full disk did not take
            self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def write_file(root: Path, key: str, pieces: Iterable[bytes], *, settled: bool = True) -> None:
    """Write a file of a folder, whole or not at all, in the memory of one piece.

    Arguments:
        key, settled: as ``PartialFile.keep``.

    Raises:
        OSError: it is not written.
    """
    with PartialFile(root) as partial:
        for piece in pieces:
            partial.write(piece)
        partial.keep(key, settled=settled)


def read_file(path: Path, start: int, end: int | None, piece: int) -> Iterator[bytes]:
    """The bytes of a file from ``start`` to before ``end``, ``piece`` of them at once.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = sys.maxsize if end is None else end - start
        while left > 0 and (content := file.read(min(piece, left))):
            left -= len(content)
            yield content


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
        _sync_folder((root / target).parent)


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
    partial = _partial_path(root)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)  # also after a move: of a link to the same file it is none


def _partial_path(root: Path) -> Path:
    partial = root / PARTIAL / uuid4().hex
    partial.parent.mkdir(mode=0o700, exist_ok=True)
    return partial


def _move(partial: Path, target: Path) -> None:
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.replace(target)
        except FileNotFoundError:
            if not partial.exists():
                raise
            continue  # an empty folder was removed meanwhile
        return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
