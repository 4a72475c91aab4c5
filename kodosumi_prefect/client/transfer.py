"""Files between this machine and the panel, in pieces; what broke off goes on."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import httpx

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.client.connection import PASSING, Connection
from kodosumi_prefect.client.errors import DamagedError
from kodosumi_prefect.client.values import StoredFile
from kodosumi_prefect.files.names import checked_path
from kodosumi_prefect.refusals import NotFoundError

CHUNK = 4 * 1024**2
PIECE = 1024**2
AT_ONCE = 3  # chunks in flight
PARTIAL = ".partial"  # suffix of a download until it is whole

Advance = Callable[[int], None]  # told how many bytes have gone


class LocalFile(NamedTuple):
    """A file to be sent, and the path that it gets."""

    path: str
    source: Path


def nothing(size: int) -> None:
    """Tell nobody of it."""


def local_files(source: Path, into: str = "") -> list[LocalFile]:
    """A file, or all files of a folder, with the paths that they get.

    Arguments:
        into: the path of the file; of a folder, what its files are below. A folder that ends with
            a slash is one to put it into.

    Raises:
        FileNotFoundError: there is nothing.
        FileNameError: no file of a run can have such a name.
    """
    name = source.resolve().name
    if not into or into.endswith("/"):
        into = f"{into}{name}"
    if source.is_file():
        files = [LocalFile(into, source)]
    elif source.is_dir():
        # Links lead elsewhere, and devices have no end.
        inside = [p for p in sorted(source.rglob("*")) if p.is_file() and not _linked(p, source)]
        files = [LocalFile(f"{into}/{p.relative_to(source).as_posix()}", p) for p in inside]
    else:
        raise FileNotFoundError(f"there is no file {source}")
    if not files:
        raise FileNotFoundError(f"{source} has no files")
    return [LocalFile(checked_path(file.path), file.source) for file in files]


def _linked(path: Path, root: Path) -> bool:
    return any(
        p.is_symlink() for p in (path, *path.parents) if p.is_relative_to(root) and p != root
    )


async def give(
    panel: Connection,
    fid: str,
    direction: str,
    files: Sequence[LocalFile],
    notes: Path | None = None,
    advance: Advance = nothing,
) -> None:
    """Have an execution have files in ``in`` or ``out``.

    Arguments:
        notes: a folder where it is noted what was sent, so that the next call with the same files
            goes on, also of another process.
    """
    resumed = Resumed(notes, fid, direction, files)
    if resumed.begun and await _is_gone(panel, resumed.begun.values()):
        resumed.forget()
    if not resumed.batch:
        resumed.begin(await new_batch(panel))
    items = await send(panel, files, resumed, advance)
    path = f"/files/complete/{fid}/{resumed.batch}/{direction}"
    await panel.ask("POST", path, json=items, harmless=True)
    resumed.forget()


async def sent(panel: Connection, files: Sequence[LocalFile], advance: Advance = nothing) -> str:
    """Send files that a launch is to get; the value of the form's field for them."""
    resumed = Resumed(None, "", "in", files)
    resumed.begin(await new_batch(panel))
    items = await send(panel, files, resumed, advance)
    return json.dumps({"batchId": resumed.batch, "items": items})


async def new_batch(panel: Connection) -> str:
    """The id of a batch to send files in."""
    return str((await panel.ask("POST", "/files/init_batch", harmless=True))["batch_id"])


async def send(
    panel: Connection, files: Iterable[LocalFile], resumed: "Resumed", advance: Advance
) -> dict[str, dict[str, Any]]:
    """Send files into a batch, but what is there already; the items to complete it with."""
    items: dict[str, dict[str, Any]] = {}
    for file in files:
        size = file.source.stat().st_size
        chunks = -(-size // CHUNK)
        id_ = resumed.begun.get(file.path)
        state = None if id_ is None else await _state(panel, id_)
        there: set[int] = set()
        if id_ is None or state is None:
            body = {"filename": file.path, "total_chunks": chunks, "size": size}
            begun = await panel.ask(
                "POST", "/files/init", json=body | {"batch_id": resumed.batch}, harmless=True
            )
            id_ = str(begun["upload_id"])
            resumed.note(file.path, id_)
        else:
            there = set(range(chunks)) if state["size"] is not None else set(state["chunks"])
        items[id_] = {"filename": file.path, "totalChunks": chunks}
        await _send_chunks(panel, file.source, id_, chunks, there, advance)
    return items


async def _send_chunks(
    panel: Connection, source: Path, upload: str, chunks: int, there: set[int], advance: Advance
) -> None:
    left = list(range(chunks))[::-1]

    async def some() -> None:
        while left:  # of all that send, each takes the next
            number = left.pop()
            piece = await asyncio.to_thread(_read, source, number)
            try:
                if number not in there:
                    await _send_chunk(panel, upload, number, piece)
            except Exception:
                left.clear()  # what is on its way arrives yet
                raise
            advance(len(piece))

    sending = [asyncio.create_task(some()) for _ in range(AT_ONCE)]
    try:
        for failure in await asyncio.gather(*sending, return_exceptions=True):
            if failure is not None:
                raise failure
    finally:
        await cancel_all(sending)


async def _send_chunk(panel: Connection, upload: str, number: int, piece: bytes) -> None:
    await panel.ask(
        "POST",
        "/files/chunk",
        data={"upload_id": upload, "chunk_number": str(number)},
        files={"chunk": ("chunk", piece, "application/octet-stream")},
        harmless=True,
    )


def _read(source: Path, number: int) -> bytes:
    with source.open("rb") as content:
        content.seek(number * CHUNK)
        return content.read(CHUNK)


async def fetch(
    panel: Connection, fid: str, file: StoredFile, target: Path, advance: Advance = nothing
) -> None:
    """Download a file, from where an earlier try broke off; its hash is checked.

    Raises:
        DamagedError: it did not come as it was stored.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{file.sha256[:8]}{PARTIAL}")
    tries = panel.tries()
    told = 0  # bytes that ``advance`` knows of

    def tell(size: int) -> None:
        nonlocal told
        if size > told:
            advance(size - told)
            told = size

    while (there := _size(partial)) != file.size or not there:
        try:
            async for size in _fetch_rest(panel, fid, file, partial, there):
                tries.succeeded()
                tell(size)
            break
        except httpx.TransportError as exc:
            await tries.pause(exc)
        except PASSING as exc:
            await tries.pause(exc, exc.retry_after)
    tell(file.size)
    if await asyncio.to_thread(_digest, partial) != file.sha256:
        partial.unlink()
        raise DamagedError(f"{file.path} did not come as it was stored; get it again")
    partial.replace(target)


async def _fetch_rest(
    panel: Connection, fid: str, file: StoredFile, partial: Path, there: int
) -> Any:
    """Fetch what is missing; all of it if it is another content by now. Yields what is there."""
    headers = {}
    if 0 < there < file.size:
        headers = {"Range": f"bytes={there}-", "If-Range": f'"{file.sha256}"'}
    async with panel.stream(f"/files/{fid}/{quote(file.path)}", headers=headers) as answer:
        goes_on = answer.status_code == 206
        size = there if goes_on else 0
        with partial.open("ab" if goes_on else "wb") as content:
            async for piece in answer.aiter_bytes(PIECE):
                content.write(piece)
                size += len(piece)
                yield size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


class Resumed:
    """What was begun to be sent and did not end, so that the next try goes on.

    It is noted line by line, as it happens: whoever sends may be killed.

    Arguments:
        folder: where it is kept; None for nowhere.
        files: that are sent; if one of them changed meanwhile, it is another upload.
    """

    def __init__(
        self, folder: Path | None, fid: str, direction: str, files: Sequence[LocalFile]
    ) -> None:
        facts = [(f.path, f.source.stat().st_size, f.source.stat().st_mtime_ns) for f in files]
        name = hashlib.sha256(json.dumps([fid, direction, facts]).encode()).hexdigest()[:32]
        self._path = None if folder is None else folder / f"{name}.jsonl"
        self.batch = ""
        self.begun: dict[str, str] = {}
        if self._path is None:
            return
        try:
            first, *lines = map(json.loads, self._path.read_text("utf-8").splitlines())
            self.batch, self.begun = str(UUID(first)), {str(p): str(UUID(u)) for p, u in lines}
        except (OSError, ValueError, TypeError, AttributeError):
            self.forget()  # there is none, or it broke off

    def begin(self, batch: str) -> None:
        """Note where the files are sent."""
        self.batch = batch
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.write_text(json.dumps(batch) + "\n", "utf-8")

    def note(self, path: str, upload: str) -> None:
        """Note that a file was begun."""
        self.begun[path] = upload
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([path, upload]) + "\n")

    def forget(self) -> None:
        """It is done, or cannot go on."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self.batch, self.begun = "", {}


async def _is_gone(panel: Connection, begun: Iterable[str]) -> bool:
    """Whether what was sent earlier is no longer there; it goes as a whole."""
    return any([await _state(panel, upload) is None for upload in [*begun][:1]])


async def _state(panel: Connection, upload: str) -> dict[str, Any] | None:
    """How far a file came; None if the panel has none of it."""
    try:
        state: dict[str, Any] = await panel.ask("GET", f"/files/upload/{upload}")
    except NotFoundError:
        return None
    return state
