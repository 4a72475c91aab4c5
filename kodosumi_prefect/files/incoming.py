"""Content on its way into a storage, whose key is known once all of it is here."""

import hashlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from kodosumi_prefect.files.folder import PartialFile
from kodosumi_prefect.files.storage import PIECE, Storage
from kodosumi_prefect.files.writing import WrittenContent


class IncomingContent:
    """Content that comes in pieces; used by one thread at a time.

    In a folder it is written where it will stay, so that it is moved and not copied when it is
    kept. What goes to a bucket waits in a temporary file.

    Attributes:
        size: bytes that have come.
        waiting: of these, bytes in memory; whoever adds pieces calls ``flush`` now and then.
    """

    def __init__(self, storage: Storage) -> None:
        self.size = 0
        self.waiting = 0
        self._storage = storage
        self._pieces: list[bytes] = []
        self._digest = hashlib.sha256()
        self._file: PartialFile | IO[bytes] | None = None

    def add(self, piece: bytes) -> None:
        """Take the next bytes; does not block."""
        self._pieces.append(piece)
        self.size += len(piece)
        self.waiting += len(piece)

    def flush(self) -> None:
        """Write what has come; blocks.

        Raises:
            StorageError: it is not written.
        """
        pieces, self._pieces, self.waiting = self._pieces, [], 0
        with self._storage.naming_errors():
            file = self._opened()
            for piece in pieces:
                file.write(piece)
                self._digest.update(piece)

    def keep(self, key: str, *, settled: bool = True) -> WrittenContent:
        """Have all that has come be under a key; blocks.

        Arguments:
            settled: as ``Storage.write_whole``.

        Raises:
            StorageError: it is not stored.
        """
        written = self.written()
        with self._storage.naming_errors():
            file = self._opened()
            if isinstance(file, PartialFile):
                file.keep(key, settled=settled)
                return written
            file.seek(0)
        if self.size <= PIECE:
            return self._storage.write_whole(key, file.read(), settled=settled)
        return self._storage.write(key, _pieces(file))

    def written(self) -> WrittenContent:
        """All that has come; as ``flush``."""
        self.flush()
        return WrittenContent(self.size, self._digest.hexdigest())

    def close(self) -> None:
        """Nothing of it is left, unless it was kept; blocks."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()

    def _opened(self) -> PartialFile | IO[bytes]:
        if self._file is None:
            folder = self._storage.folder
            if folder is not None:
                self._file = PartialFile(folder)
            else:
                self._file = cast("IO[bytes]", SpooledTemporaryFile(PIECE))  # noqa: SIM115
        return self._file


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: content.read(PIECE), b"")
