"""How many and how large files may be."""

from kodosumi_prefect.database.rows.files import FileTotals
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.settings import Settings


class FileLimitError(KodosumiError):
    """A file is too large, or they are too many; which limit says so is in the message."""


def check_size(size: int, settings: Settings) -> None:
    """Raise FileLimitError if no file may have so many bytes."""
    if size > settings.file_bytes:
        raise FileLimitError(
            f"the file has {size:,} bytes; {settings.file_bytes:,} at most (file_bytes)"
        )


def check_owner(size: int, has: int | None, settings: Settings) -> None:
    """Raise FileLimitError if so many more bytes do not fit any more.

    Arguments:
        has: bytes that the account's executions and uploads have; None for no account.
    """
    most = settings.owner_file_bytes
    if most is not None and has is not None and has + size > most:
        raise FileLimitError(
            f"{size:,} more bytes are too many: the account's files have {has:,} of {most:,} at "
            "most (owner_file_bytes); delete some"
        )


def check_execution(files: int, size: int, has: FileTotals, settings: Settings) -> None:
    """Raise FileLimitError if so many more files, of so many bytes in all, do not fit any more.

    Arguments:
        has: what the execution has.
    """
    if has.files + files > settings.execution_files:
        raise FileLimitError(
            f"{files} more files are too many: a run has {settings.execution_files:,} at most "
            "(execution_files)"
        )
    if has.bytes + size > settings.execution_file_bytes:
        raise FileLimitError(
            f"{size:,} more bytes are too many: the files of a run have "
            f"{settings.execution_file_bytes:,} at most (execution_file_bytes)"
        )
