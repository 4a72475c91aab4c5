"""Where the files of a run are kept, as its process reaches it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from kodosumi_prefect.database.rows.files import FileTotals, ListedFile
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.names import Direction, comparable
from kodosumi_prefect.files.storage import Storage

PAGE = 1000  # files that are listed at once


class FilesAwayError(KodosumiError):
    """The files cannot be reached from here, or not now, in one line."""


class NewContent(NamedTuple):
    """Content that was written and belongs to no file yet.

    Attributes:
        key: in the storage.
        size: bytes.
        sha256: in hexadecimal.
    """

    key: str
    size: int
    sha256: str


class FilePlace(Protocol):
    """The files of one execution, from here.

    Its methods block, and raise FilesAwayError or StorageError where something is away.
    """

    def listed(self, direction: Direction, folder: str = "") -> Iterator[ListedFile]:
        """The files of a folder and those below it, by path; ``folder`` may be one file's path."""

    def at(self, direction: Direction, path: str) -> ListedFile | None:
        """The file of a path, or one that some file systems take for it."""

    def totals(self) -> FileTotals:
        """How many files it has, and how many bytes."""

    def owner_bytes(self) -> int | None:
        """Bytes of all files of its owner; None if it has none, or they are counted elsewhere."""

    def write(self, pieces: Iterable[bytes]) -> NewContent:
        """Store content, whole or not at all."""

    def read(self, file: ListedFile) -> Iterator[bytes]:
        """The content of a file in pieces; FileNotFoundError if it is gone."""

    def close(self) -> None:
        """Give back what is held."""


class DirectPlace:
    """The storage and the database themselves.

    Arguments:
        query: the rows of a query of ``database/sql``, by name and parameters.
    """

    def __init__(
        self, fid: str, storage: Storage, query: Callable[[str, dict[str, Any]], list[Any]]
    ) -> None:
        self._fid = fid
        self._storage = storage
        self._query = query

    def listed(self, direction: Direction, folder: str = "") -> Iterator[ListedFile]:
        after: str | None = None
        while True:
            parameters = {
                "fid": self._fid,
                "direction": str(direction),
                "folder": folder,
                "after": after,
                "limit": PAGE,
            }
            rows = [ListedFile(*row) for row in self._query("files_of", parameters)]
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1].path.partition("/")[2]

    def at(self, direction: Direction, path: str) -> ListedFile | None:
        parameters = {
            "fid": self._fid,
            "direction": str(direction),
            "comparable": comparable(path),
        }
        rows = self._query("file_at", parameters)
        return ListedFile(*rows[0]) if rows else None

    def totals(self) -> FileTotals:
        rows = self._query("file_totals", {"fid": self._fid})
        return FileTotals(*rows[0]) if rows else FileTotals(0, 0)

    def owner_bytes(self) -> int | None:
        rows = self._query("owner_bytes_of_run", {"fid": self._fid})
        return int(rows[0][0]) if rows else None

    def write(self, pieces: Iterable[bytes]) -> NewContent:
        key = object_key(self._fid)
        return NewContent(key, *self._storage.write(key, pieces))

    def read(self, file: ListedFile) -> Iterator[bytes]:
        try:
            yield from self._storage.read(file.key)
        except FileNotFoundError:
            raise FileNotFoundError(f"the content of {file.path} is no longer there") from None

    def close(self) -> None:
        """Nothing: storage and connections are the process's."""
