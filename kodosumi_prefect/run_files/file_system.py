"""``tracer.fs()``: the files of a run, read and left by its code.

A file that is left is stored whole first; then an ``upload`` event says so, in the order of the
process's other events, and makes it listed.
"""

import asyncio
import mimetypes
import os
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from kodosumi_prefect.database.rows.files import ListedFile
from kodosumi_prefect.files.names import Direction, FileNameError, checked_path, split_folder
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.storage import PIECE
from kodosumi_prefect.run_files.places import FilePlace
from kodosumi_prefect.run_files.room import Room
from kodosumi_prefect.settings import Settings

UNKNOWN = "application/octet-stream"
CLOSED = "the file system of this run was closed; get another one by tracer.fs()"

T = TypeVar("T")
Record = Callable[[str], object]  # records an ``upload`` event of that payload
Content = bytes | str | os.PathLike[str] | IO[bytes] | Iterable[bytes]


class FileSystem:
    """The files of a run; a context manager.

    Paths begin with ``in/``, what the run was given, or ``out/``, what it leaves.

    Example:
        ```python
        with tracer.fs_sync() as fs:
            for item in fs.ls("in"):
                text = fs.open(item["path"]).read_all()
            fs.upload("report.pdf")
        ```

    Arguments:
        place: where they are.
        record: records an ``upload`` event.
        flush: waits until what was recorded is listed.
        settings: the limits.
        left: told the path of each file that was left.
    """

    def __init__(
        self,
        place: FilePlace,
        record: Record,
        flush: Callable[[], object],
        settings: Settings,
        left: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._place = place
        self._record = record
        self._flush = flush
        self._settings = settings
        self._tell = left
        self._closed = False
        self._unlisted = True  # this process may have left something before
        self._room: Room | None = None

    def ls(self, path: str = "in") -> list[dict[str, Any]]:
        """The files of a folder and those below it, by path.

        Returns:
            Of each its ``path``, ``size`` in bytes and ``last_modified`` in epoch seconds.

        Raises:
            FileNotFoundError: there is no such folder; ``in`` and ``out`` are there always.
            FileNameError: the path is in neither of them.
        """
        direction, folder = self._folder(path)
        found = [file.kodosumi for file in self._listed(direction, folder)]
        if folder and not found:
            raise FileNotFoundError(path)
        return found

    def open(self, path: str) -> "FileStream":
        """A file to be read; it is looked for at the first read."""
        self._require_open()
        return FileStream(self, path)

    def download(self, path: str = "in") -> Iterator[str]:
        """Copy a file, or all files of a folder, into a temporary folder of this machine.

        It is left there when the run ends.

        Returns:
            The local path of each, as it is there.

        Raises:
            FileNotFoundError: there is nothing of that path.
        """
        direction, folder = self._folder(path)
        return self._downloaded(path, direction, folder)

    def upload(self, path: str | os.PathLike[str]) -> list[str]:
        """Leave a local file, or all files of a local folder, in ``out/``.

        A file keeps its name, files of a folder their path in it. What is there by the same path
        is replaced. Links within the folder are followed; those that lead out of it, and what is
        neither file nor folder, are refused.

        Returns:
            The paths that they have now.

        Raises:
            FileNotFoundError: nothing is there.
            FileNameError: a name that not every machine can hold.
            FileLimitError: a file is too large, or they are too many.
        """
        self._require_open()
        local = Path(path)
        if not local.is_dir():
            return [self.put(local.name, local)]
        files = sorted(_files_in(local))
        names = [checked_path(file.relative_to(local).as_posix()) for file in files]
        self._require_room(len(files), sum(file.stat().st_size for file in files))
        return [self.put(name, file) for name, file in zip(names, files, strict=True)]

    def put(self, name: str, content: Content, media_type: str | None = None) -> str:
        """Leave one file in ``out/``.

        Arguments:
            name: its path there.
            content: its bytes, its text, a local path, or a stream of bytes, which is read in
                pieces.
            media_type: such as ``text/plain``; by its name if not given.

        Returns:
            Its path.

        Raises:
            As ``upload``.
        """
        self._require_open()
        name = checked_path(name)
        self._require_room(1, _known_size(content) or 0)
        with closing(_pieces(content)) as pieces:
            written = self._place.write(self._bounded(pieces))
        path = f"{Direction.OUT}/{name}"
        kind = media_type or mimetypes.guess_type(name)[0] or UNKNOWN
        self._record(payload_of([StoredFile(path, *written, kind)]))
        self._tell(path)
        self._unlisted = True
        if self._room is not None:
            self._room.take(written.size)
        return path

    def remove(self, path: str) -> bool:
        """Remove a file, or a folder with all that is below it.

        Returns:
            True.

        Raises:
            FileNotFoundError: there is nothing of that path.
        """
        direction, folder = self._folder(path)
        paths = [file.path for file in self._listed(direction, folder)]
        if not paths:
            raise FileNotFoundError(path)
        self._record(payload_of(removed=paths))
        self._unlisted = True
        return True

    def close(self) -> None:
        """Give back what is held; nothing is read or left by it any more."""
        self._closed = True
        self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def find(self, path: str) -> ListedFile:
        """One file.

        Raises:
            FileNotFoundError: there is none of that path.
        """
        direction, rest = self._folder(path)
        self._see()
        file = self._place.at(direction, rest) if rest else None
        if file is None or file.path != f"{direction}/{rest}":
            raise FileNotFoundError(path)
        return file

    def pieces(self, file: ListedFile) -> Iterator[bytes]:
        """The content of a file.

        Raises:
            FileNotFoundError: it was removed meanwhile.
        """
        self._require_open()
        return self._place.read(file)

    def _downloaded(self, path: str, direction: Direction, folder: str) -> Iterator[str]:
        files = list(self._listed(direction, folder))
        if not files and folder:
            raise FileNotFoundError(path)
        root = Path(tempfile.mkdtemp(prefix="kodosumi-")) if files else None
        for file in files:
            assert root is not None
            rest = file.path.partition("/")[2]
            local = root / (Path(rest).name if rest == folder else rest[len(folder) :].lstrip("/"))
            local.parent.mkdir(parents=True, exist_ok=True)
            with local.open("wb") as target:
                for piece in self.pieces(file):
                    target.write(piece)
            yield str(local)

    def _listed(self, direction: Direction, folder: str) -> Iterator[ListedFile]:
        self._see()
        return self._place.listed(direction, folder)

    def _see(self) -> None:
        """Have what this process left listed."""
        if self._unlisted:
            self._flush()
            self._unlisted = False

    def _folder(self, path: str) -> tuple[Direction, str]:
        self._require_open()
        return split_folder(path.lstrip("/"))

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(CLOSED)

    def _require_room(self, files: int, size: int) -> None:
        """Raise FileLimitError if so many files of so many bytes in all do not fit any more."""
        if self._room is None:
            self._see()
            self._room = Room(self._place, self._settings)
        self._room.require(files, size)

    def _bounded(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces, as long as they are not too many."""
        size = 0
        for piece in pieces:
            size += len(piece)
            self._require_room(1, size)
            yield piece


class FileStream:
    """A file that is read; a context manager. Read once, it is read."""

    def __init__(self, files: FileSystem, path: str) -> None:
        self._files = files
        self._path = path
        self._pieces: Iterator[bytes] | None = None

    def read(self) -> Iterator[bytes]:
        """Its content in pieces of bounded size.

        Raises:
            FileNotFoundError: there is none.
        """
        if self._pieces is None:
            self._pieces = self._files.pieces(self._files.find(self._path))
        yield from self._pieces

    def read_all(self) -> bytes:
        """All of its content.

        Raises:
            FileNotFoundError: there is none.
        """
        return b"".join(self.read())

    def remove(self) -> bool:
        """Remove the file; as ``FileSystem.remove``."""
        return self._files.remove(self._path)

    def close(self) -> None:
        """Forget how far it was read."""
        self._pieces = None

    def __enter__(self) -> Self:
        self._files.find(self._path)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncFileSystem:
    """As ``FileSystem``, for async code; an async context manager."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files

    async def ls(self, path: str = "in") -> list[dict[str, Any]]:
        """As ``FileSystem.ls``."""
        return await asyncio.to_thread(self._files.ls, path)

    def open(self, path: str) -> "AsyncFileStream":
        """As ``FileSystem.open``."""
        return AsyncFileStream(self._files.open(path))

    async def download(self, path: str = "in") -> AsyncIterator[str]:
        """As ``FileSystem.download``."""
        async with aclosing(_following(self._files.download(path))) as paths:
            async for local in paths:
                yield local

    async def upload(self, path: str | os.PathLike[str]) -> list[str]:
        """As ``FileSystem.upload``."""
        return await asyncio.to_thread(self._files.upload, path)

    async def put(self, name: str, content: Content, media_type: str | None = None) -> str:
        """As ``FileSystem.put``."""
        return await asyncio.to_thread(self._files.put, name, content, media_type)

    async def remove(self, path: str) -> bool:
        """As ``FileSystem.remove``."""
        return await asyncio.to_thread(self._files.remove, path)

    async def close(self) -> None:
        """As ``FileSystem.close``."""
        await asyncio.to_thread(self._files.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncFileStream:
    """As ``FileStream``, for async code."""

    def __init__(self, stream: FileStream) -> None:
        self._stream = stream

    async def read(self) -> AsyncIterator[bytes]:
        """As ``FileStream.read``."""
        async with aclosing(_following(self._stream.read())) as pieces:
            async for piece in pieces:
                yield piece

    async def read_all(self) -> bytes:
        """As ``FileStream.read_all``."""
        return await asyncio.to_thread(self._stream.read_all)

    async def remove(self) -> bool:
        """As ``FileStream.remove``."""
        return await asyncio.to_thread(self._stream.remove)

    async def close(self) -> None:
        """As ``FileStream.close``."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._stream.__enter__)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def _following(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """What an iterator gives, each waited for in a thread."""
    while True:
        item = await asyncio.to_thread(next, items, None)
        if item is None:
            return
        yield item


def _pieces(content: Content) -> Generator[bytes, None, None]:
    """Content in pieces, whatever it comes as."""
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes | bytearray | memoryview):
        for start in range(0, len(content), PIECE):
            yield bytes(content[start : start + PIECE])
    elif isinstance(content, os.PathLike):
        with _regular(Path(content)).open("rb") as file:
            yield from iter(lambda: file.read(PIECE), b"")
    elif hasattr(content, "read"):
        yield from iter(lambda: _bytes(content.read(PIECE)), b"")
    else:
        yield from map(_bytes, content)


def _bytes(piece: Any) -> bytes:
    if isinstance(piece, bytes | bytearray | memoryview):
        return bytes(piece)
    raise TypeError(f"a file is made of bytes, not of {type(piece).__name__}; open it with 'rb'")


def _regular(path: Path) -> Path:
    """A path of a file; a device or a pipe would never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise FileNameError(
            f"{str(path)[:200]!r} is no file that can be left: {stat.filemode(mode)}"
        )
    return path


def _known_size(content: Content) -> int | None:
    """Bytes of content, where that is known before it is read."""
    if isinstance(content, str):
        return len(content.encode())
    if isinstance(content, bytes | bytearray | memoryview):
        return len(content)
    return _regular(Path(content)).stat().st_size if isinstance(content, os.PathLike) else None


def _files_in(folder: Path) -> Iterator[Path]:
    """The files below a folder; links to folders are not followed, they may lead in circles.

    Raises:
        FileNameError: something is neither file nor folder, or a link that leads elsewhere.
    """
    root = folder.resolve()
    for inner, folders, names in os.walk(folder):
        for name in names:
            path = Path(inner, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise FileNameError(f"{str(path)[:200]!r} is a link to what is not in the folder")
            yield _regular(path)
        for name in folders:
            if Path(inner, name).is_symlink():
                raise FileNameError(f"{str(Path(inner, name))[:200]!r} is a link to a folder")
