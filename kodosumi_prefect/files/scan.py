"""Looking at uploaded files before anybody can read them: setting ``file_scan``."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.settings import Settings


class FileRefusedError(KodosumiError):
    """The file is not taken; the message is a reason for the person who sent it."""


class ScanError(KodosumiError):
    """The scan itself does not work; no file is taken until it does."""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that somebody sent, whole, before it is part of anything.

    Example:
        ```python
        def no_programs(file: UploadedFile) -> None:
            if next(file.open(), b"").startswith(b"MZ"):
                raise FileRefusedError("programs are not taken")
        ```

    Attributes:
        name: its path.
        size: bytes.
        media_type: as its name suggests.
        sha256: in hexadecimal.
        owner: id of the account that sent it.
    """

    name: str
    size: int
    media_type: str
    sha256: str
    owner: str
    _read: Callable[[], Iterator[bytes]] = field(repr=False)

    def open(self) -> Iterator[bytes]:
        """Its content, from the start, in pieces of bounded size."""
        return self._read()


def scan(file: UploadedFile, settings: Settings) -> None:
    """Have the configured function look at a file.

    Raises:
        FileRefusedError: it refuses it.
        ScanError: there is no such function, or it fails.
    """
    if settings.file_scan is None:
        return
    try:
        _function(settings.file_scan)(file)
    except (FileRefusedError, ScanError):
        raise
    except Exception as exc:
        raise ScanError(
            f"file_scan {settings.file_scan} failed at {file.name!r}: {type(exc).__name__}: {exc}"
        ) from exc


@lru_cache(maxsize=4)
def _function(name: str) -> Callable[[UploadedFile], Any]:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ScanError(f"file_scan {name}: {exc}; write module:function") from exc
    if not callable(function):
        raise ScanError(f"file_scan {name} is no function")
    return cast("Callable[[UploadedFile], Any]", function)
