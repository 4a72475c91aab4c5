"""Where the contents of files are: a folder, or a bucket, named by a URL.

Contents stand under the keys of ``content_keys``.
"""

import hashlib
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store, from_url

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.files.folder import (
    PARTIAL,
    link_file,
    partial_files,
    read_file,
    remove_empty_folders,
    write_file,
)
from kodosumi_prefect.files.read_ahead import read_ahead
from kodosumi_prefect.files.reading import Reading
from kodosumi_prefect.files.storage_errors import in_words, is_missing_bucket
from kodosumi_prefect.files.storage_url import is_address, plain
from kodosumi_prefect.files.writing import CountedPieces, WrittenContent, write_object
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.settings.areas.files import STORAGE_SCHEMES

MARK = "storage.id"  # of a folder, by which processes know that they mean the same one
PIECE = 1024**2  # bytes that are read at once
DELETED_AT_ONCE = 1000
CONNECT = "10s"  # for a connection to a bucket
ANSWER = "60s"  # for its answer to one request
RETRY = timedelta(seconds=30)  # in which a request that failed is tried again


class StorageError(KodosumiError):
    """The storage cannot be used, or does not do what it is asked for, in one line."""


class StoredContent(NamedTuple):
    """What stands under a key."""

    key: str
    size: int
    modified: datetime


class Storage:
    """Contents by their keys; may be used by many threads at once.

    Arguments:
        url: ``file:///folder``, ``s3://bucket/prefix``, ``gs://…`` or ``az://…``.
        options: of the bucket, such as ``endpoint`` or ``access_key_id``; names as obstore has
            them. What is not there is taken from the environment, as its own tools do.

    Raises:
        StorageError: the URL names no storage, or a folder that cannot be made.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._options = dict(options or {})
        self._endpoint = self._options.get("endpoint", "")
        self._root: Path | None = None
        parts = urlsplit(url)
        if parts.scheme not in STORAGE_SCHEMES:
            schemes = ", ".join(f"{scheme}://" for scheme in STORAGE_SCHEMES)
            raise StorageError(f"file_storage_url {plain(url)!r} begins with none of {schemes}")
        if parts.scheme == "file":
            self._root = Path(unquote(parts.path))
            if parts.netloc or not self._root.is_absolute():
                raise StorageError(f"file_storage_url {url!r}: write file:///folder")
            try:
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as exc:
                raise StorageError(f"the folder for files cannot be made: {exc}") from exc
            self._store: ObjectStore = LocalStore(self._root)
            return
        if self._endpoint and not is_address(self._endpoint):
            raise StorageError(
                "endpoint of file_storage_options must be http://host or https://host, with a port "
                "if need be, and without a user"
            )
        try:
            # Which options there are depends on the scheme.
            self._store = cast(Any, from_url)(
                url,
                client_options={
                    "connect_timeout": CONNECT,
                    "timeout": ANSWER,
                    "allow_http": self._options.pop("allow_http", "") == "true",
                },
                retry_config={"max_retries": 5, "retry_timeout": RETRY},
                **self._options,
            )
        except (BaseError, ValueError, TypeError) as exc:
            raise StorageError(f"file_storage_url {plain(url)}: {in_words(exc)}") from None

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that it is; None for a bucket."""
        return self._root

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self._root is not None

    def identity(self) -> str:
        """What tells this storage from all others: a bucket's address, a folder's own mark.

        Raises:
            StorageError: the mark can be neither read nor made.
        """
        if (known := self.known_identity()) is not None:
            return known
        with self.naming_errors(), suppress(AlreadyExistsError):
            obstore.put(self._store, MARK, str(uuid4()).encode(), mode="create")
        known = self.known_identity()
        assert known is not None
        return known

    def known_identity(self) -> str | None:
        """As ``identity``; None for a folder where nobody has written yet."""
        if not self.is_local:
            return f"{plain(self.url).rstrip('/')} {self._endpoint}".strip()
        with self.naming_errors():
            try:
                return bytes(obstore.get(self._store, MARK).bytes()).decode()
            except FileNotFoundError:
                return None

    def write(self, key: str, pieces: Iterable[bytes]) -> WrittenContent:
        """Store content of any size, in bounded memory; whole or not at all.

        Arguments:
            pieces: may raise, which then nothing is stored of.

        Raises:
            StorageError: it is not stored.
        """
        counted = CountedPieces(pieces)
        try:
            with self.naming_errors():
                if self._root is not None:
                    write_file(self._root, key, counted)
                else:
                    write_object(self._store, key, counted)
        except Exception:
            if counted.failed is not None:
                raise counted.failed from None
            raise
        return counted.written

    def write_whole(self, key: str, content: bytes, *, settled: bool = True) -> WrittenContent:
        """As ``write``, for what is in memory anyway.

        Arguments:
            settled: it is on the disk when this returns; else a power failure may lose it.
        """
        with self.naming_errors():
            if self._root is not None:
                write_file(self._root, key, [content], settled=settled)
            else:
                obstore.put(self._store, key, content, use_multipart=False)
        return WrittenContent(len(content), hashlib.sha256(content).hexdigest())

    def read(
        self, key: str, start: int = 0, end: int | None = None
    ) -> Generator[bytes, None, None]:
        """The bytes from ``start`` to before ``end``, in pieces, as slowly as they are taken.

        Raises:
            FileNotFoundError: nothing stands there.
            StorageError: it cannot be read.
        """
        reading = Reading(start, end)
        with self.naming_errors():
            if self._root is not None:
                if reading.goes_on():
                    yield from read_file(self._root / key, start, end, PIECE)
                return
            while reading.goes_on():
                try:
                    answer = obstore.get(self._store, key, options=reading.options)
                except BaseError as exc:
                    answer = obstore.get(self._store, key, options=reading.by_hand(exc))
                try:
                    for piece in answer.stream(min_chunk_size=PIECE):
                        if wanted := reading.of(bytes(piece)):
                            yield wanted
                        if not reading.goes_on():
                            return
                    return
                except BaseError as exc:
                    reading.broke_off(exc)

    async def stream(
        self, key: str, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """As ``read``, without blocking."""
        if self._root is not None:
            async for piece in read_ahead(self.read(key, start, end)):
                yield piece
            return
        reading = Reading(start, end)
        with self.naming_errors():
            while reading.goes_on():
                try:
                    answer = await obstore.get_async(self._store, key, options=reading.options)
                except BaseError as exc:
                    options = reading.by_hand(exc)
                    answer = await obstore.get_async(self._store, key, options=options)
                try:
                    async for piece in answer.stream(min_chunk_size=PIECE):
                        if wanted := reading.of(bytes(piece)):
                            yield wanted
                        if not reading.goes_on():
                            return
                    return
                except BaseError as exc:
                    reading.broke_off(exc)

    def copy(self, source: str, target: str) -> None:
        """Have content under another key too; a folder or a bucket does so without reading it.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it cannot be copied.
        """
        with self.naming_errors():
            if self._root is not None:
                link_file(self._root, source, target)
                return
            try:
                obstore.copy(self._store, source, target, overwrite=True)
                return
            except BaseError:
                pass  # buckets copy up to 5 GB
        self.write(target, self.read(source))

    def size(self, key: str) -> int | None:
        """Bytes of what stands under a key; None for nothing."""
        with self.naming_errors():
            try:
                return int(obstore.head(self._store, key)["size"])
            except FileNotFoundError:
                self._require_bucket(key)
                return None

    def delete(self, keys: Iterable[str]) -> None:
        """Delete what stands under these keys, if anything does.

        Raises:
            StorageError: not all of it.
        """
        every = list(keys)
        for first in range(0, len(every), DELETED_AT_ONCE):
            with self.naming_errors():
                self._delete(every[first : first + DELETED_AT_ONCE])

    def contents(self, prefix: str) -> Iterator[StoredContent]:
        """What stands below a prefix, in no order.

        Raises:
            StorageError: it cannot be listed.
        """
        with self.naming_errors():
            for some in obstore.list(self._store, prefix, chunk_size=DELETED_AT_ONCE):
                for each in some:
                    yield StoredContent(each["path"], int(each["size"]), each["last_modified"])

    def delete_below(self, prefix: str, before: datetime | None = None) -> int:
        """Delete what stands below a prefix, if it was written before a moment; how many.

        Raises:
            StorageError: not all of it.
        """
        until = before or datetime.max.replace(tzinfo=UTC)
        old = [each.key for each in self.contents(prefix) if each.modified < until]
        self.delete(old)
        if self._root is not None:
            remove_empty_folders(self._root / prefix)
        return len(old)

    def broken_off(self, before: datetime) -> list[StoredContent]:
        """What processes that are gone were writing to a folder, last before a moment.

        A bucket shows nothing of the kind: parts of uploads that were never completed are deleted
        by a rule of its own.

        Raises:
            StorageError: it cannot be listed.
        """
        if self._root is None:
            return []
        with self.naming_errors():
            # A link to older content has been changed when it was made, and not modified.
            found = [
                StoredContent(
                    f"{PARTIAL}/{path.name}",
                    stat.st_size,
                    datetime.fromtimestamp(stat.st_ctime, UTC),
                )
                for path, stat in partial_files(self._root)
            ]
        return [StoredContent(*each) for each in found if each[2] < before]

    def signed_url(self, method: Literal["GET", "PUT"], key: str, seconds: float) -> str | None:
        """A URL by which anybody may read or write one key for a while; None where that is not."""
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        with self.naming_errors():
            return obstore.sign(self._store, method, key, timedelta(seconds=seconds))

    def _require_bucket(self, key: str) -> None:
        """Raise if the bucket itself is missing, which the answer to a HEAD does not say."""
        if self.is_local:
            return
        try:
            obstore.get(self._store, key)
        except FileNotFoundError as exc:
            if is_missing_bucket(exc):
                raise

    def _delete(self, keys: list[str]) -> None:
        if not self.is_local:
            obstore.delete(self._store, keys)
            return
        for key in keys:  # of a folder, obstore stops at the first that is not there
            assert self._root is not None
            (self._root / key).unlink(missing_ok=True)

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Errors of the storage, in one line that names it, and without obstore's own text."""
        try:
            yield
        except (BaseError, OSError) as exc:
            if isinstance(exc, FileNotFoundError) and not is_missing_bucket(exc):
                raise FileNotFoundError(f"storage {plain(self.url)} has no such content") from None
            raise StorageError(f"storage {plain(self.url)}: {in_words(exc)}") from None


def default_url(settings: Settings) -> str:
    """The URL of the configured storage."""
    return settings.file_storage_url or (settings.data_dir / "files").absolute().as_uri()


def storage_of(settings: Settings) -> Storage:
    """The configured storage; the same one for the same settings.

    Raises:
        StorageError: it cannot be used.
    """
    options = {
        name: value.get_secret_value() for name, value in settings.file_storage_options.items()
    }
    return _storage(default_url(settings), tuple(sorted(options.items())))


@lru_cache(maxsize=16)
def _storage(url: str, options: tuple[tuple[str, str], ...]) -> Storage:
    return Storage(url, dict(options))
