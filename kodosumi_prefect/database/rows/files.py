"""Rows of files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A row of ``files_of`` or ``file_at``.

    Attributes:
        path: begins with ``in/`` or ``out/``.
        key: of its content in the storage.
        size: bytes.
        sha256: of its content, in hexadecimal.
        created: epoch seconds.
        task_run: id of the Prefect task run that made it.
    """

    path: str
    key: str
    size: int
    sha256: str
    media_type: str
    created: float
    attempt: int
    task_run: str | None
    node: str | None

    @property
    def kodosumi(self) -> dict[str, object]:
        """As Kodosumi lists it."""
        return {"path": self.path, "size": self.size, "last_modified": self.created}


@dataclass(frozen=True, slots=True)
class FileTotals:
    """A row of ``file_totals``."""

    files: int
    bytes: int
