"""Rows of files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GivenFiles:
    """A row of ``given_files``; ``names`` are the first ones."""

    executions: int
    files: int
    bytes: int
    names: list[str]


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


@dataclass(frozen=True, slots=True)
class UploadBatch:
    """A row of ``upload_batch``.

    Attributes:
        owner: the account that sends it.
        fid: the execution that has it.
        schedule: the schedule whose runs get a copy of it.
        answer: by what was completed, what that was answered; as JSON.
    """

    id: str
    owner: str
    fid: str | None
    schedule: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is being sent, or was; a row of ``uploads_of``.

    Attributes:
        owner: the account that sends it.
        fid: the execution that has its batch.
        path: as its sender names it.
        chunks: how many it comes in; 0 of what is empty or goes straight to the storage.
        key: of its whole content, or where that is expected.
        size: bytes; None until it is whole.
        sha256: in hexadecimal; None until it is whole.
        declared_size: bytes that its sender announced.
        declared_sha256: what its sender announced.
        refused: why it is not taken.
        received: how many chunks are there.
        received_bytes: of these.
    """

    id: str
    batch: str
    owner: str
    fid: str | None
    path: str
    comparable: str
    chunks: int
    media_type: str
    key: str | None
    size: int | None
    sha256: str | None
    declared_size: int | None
    declared_sha256: str | None
    refused: str | None
    received: int
    received_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there and was looked at."""
        return self.size is not None


@dataclass(frozen=True, slots=True)
class UploadChunk:
    """A part of a file; a row of ``chunks_of``."""

    number: int
    key: str
    size: int
    sha256: str
