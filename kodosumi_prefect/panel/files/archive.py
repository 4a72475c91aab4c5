"""Several files as one zip, made while it is sent."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import IO, cast

from kodosumi_prefect.database.rows.files import ListedFile
from kodosumi_prefect.files.names import split
from kodosumi_prefect.files.storage import Storage, StorageError

MOST = 10_000  # files of one zip: its directory, which comes last, is held until then
FIRST_YEAR, LAST_YEAR = 1980, 2107  # that a zip can name
LEVEL = 5  # of compression
# Subtypes and suffixes of what no compression makes smaller.
SMALL = ("zip", "gzip", "7z", "rar", "xz", "zstd", "bzip2", "compressed", "officedocument", "epub")
SMALL_SUFFIXES = frozenset(
    {"zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "br", "lz4", "jar", "whl", "docx", "xlsx"}
    | {"pptx", "odt", "ods", "odp", "epub", "parquet", "pdf"}
)
PICTURES = ("image/svg", "image/bmp", "image/tiff", "image/x-")  # that are not compressed


class _Outgoing:
    """Where a zip is written, straight on; what was taken is no longer held."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


async def zipped(storage: Storage, files: Sequence[ListedFile]) -> AsyncIterator[bytes]:
    """The zip of these files, in pieces; a piece of one file is in memory at a time.

    Raises:
        StorageError: a content is gone, or is not as long as it was. What was sent until then
            has no directory, so nobody takes it for whole.
    """
    outgoing = _Outgoing()
    stream = cast("IO[bytes]", outgoing)  # that neither seeks nor tells, which it copes with
    archive = zipfile.ZipFile(stream, "w", allowZip64=True, compresslevel=LEVEL)
    for file in files:
        target = archive.open(_entry(file), "w", force_zip64=True)
        try:
            sent = 0
            async for piece in storage.stream(file.key, 0, file.size):
                sent += len(piece)
                await asyncio.to_thread(target.write, piece)  # compressing takes its time
                if taken := outgoing.take():
                    yield taken
        except FileNotFoundError as exc:
            raise StorageError(f"the content of {file.path!r} is no longer there") from exc
        finally:
            target.close()
        if sent != file.size:
            raise StorageError(f"the content of {file.path!r} is not as long as it was")
    archive.close()
    yield outgoing.take()


def _entry(file: ListedFile) -> zipfile.ZipInfo:
    direction, path = split(file.path)  # whoever unpacks it gets no path that leads elsewhere
    moment = datetime.fromtimestamp(file.created, UTC)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        moment = moment.replace(year=FIRST_YEAR, day=1)
    entry = zipfile.ZipInfo(f"{direction}/{path}", moment.timetuple()[:6])
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_STORED if _is_small(file) else zipfile.ZIP_DEFLATED
    return entry


def _is_small(file: ListedFile) -> bool:
    """Whether compressing it is in vain."""
    if file.path.rpartition(".")[2].lower() in SMALL_SUFFIXES:
        return True
    kind, _, subtype = file.media_type.lower().partition("/")
    if kind == "image":
        return not file.media_type.lower().startswith(PICTURES)
    return kind in ("audio", "video") or any(word in subtype for word in SMALL)
