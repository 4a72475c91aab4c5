"""Files between this machine and the panel, in pieces, with what of them has gone."""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from kodosumi_prefect.cli.output import CommandError, errors
from kodosumi_prefect.cli.panel_client import Panel
from kodosumi_prefect.files.names import FileNameError, checked_path, split

CHUNK = 4 * 1024**2
PIECE = 1024**2
AT_ONCE = 3  # chunks in flight
PARTIAL = ".partial"  # suffix of a download until it is whole

Advance = Callable[[int], None]


class LocalFile(NamedTuple):
    """A file to be sent, and the path that it gets."""

    path: str
    source: Path


@contextmanager
def bar(words: str, total: int) -> Iterator[Advance]:
    """A bar on stderr, if that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TransferSpeedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    ) as progress:
        task = progress.add_task(words, total=total)
        yield lambda size: progress.advance(task, size)


def local_files(source: Path, into: str) -> list[LocalFile]:
    """A file, or all files of a folder, with the paths that they get.

    Arguments:
        into: the path of the file; of a folder, what its files are below. A folder that ends with
            a slash is one to put it into.

    Raises:
        CommandError: there is nothing, or something whose name no file of a run can have.
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
        raise CommandError(f"there is no file {source}")
    if not files:
        raise CommandError(f"{source} has no files")
    try:
        return [LocalFile(checked_path(file.path), file.source) for file in files]
    except FileNameError as exc:
        raise CommandError(str(exc)) from exc


def _linked(path: Path, root: Path) -> bool:
    return any(
        p.is_symlink() for p in (path, *path.parents) if p.is_relative_to(root) and p != root
    )


def send(
    panel: Panel, files: list[LocalFile], batch: str, begun: dict[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Send files into a batch; the items to complete it with.

    Arguments:
        begun: uploads of an earlier try by their paths, whose chunks are not sent again; those
            that are begun now are added.
    """
    known = {} if begun is None else begun
    items: dict[str, dict[str, Any]] = {}
    with bar("sending", sum(file.source.stat().st_size for file in files)) as advance:
        for file in files:
            size = file.source.stat().st_size
            chunks = -(-size // CHUNK)
            body = {"filename": file.path, "total_chunks": chunks, "batch_id": batch, "size": size}
            id_ = known.get(file.path)
            there: set[int] = set()
            if id_ is None:
                known[file.path] = id_ = str(
                    panel.ask("POST", "/files/init", json=body)["upload_id"]
                )
            else:
                state = panel.ask("GET", f"/files/upload/{id_}")
                there = set(range(chunks)) if state["size"] is not None else set(state["chunks"])
            items[id_] = {"filename": file.path, "totalChunks": chunks}
            _send_chunks(panel, file.source, id_, chunks, there, advance)
    return items


def _send_chunks(
    panel: Panel, source: Path, upload: str, chunks: int, there: set[int], advance: Advance
) -> None:
    def one(number: int) -> None:
        with source.open("rb") as content:
            content.seek(number * CHUNK)
            piece = content.read(CHUNK)
        if number not in there:
            panel.ask(
                "POST",
                "/files/chunk",
                data={"upload_id": upload, "chunk_number": str(number)},
                files={"chunk": ("chunk", piece, "application/octet-stream")},
            )
        advance(len(piece))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(one, range(chunks)))


def fetch(panel: Panel, fid: str, file: dict[str, Any], target: Path, advance: Advance) -> None:
    """Download a file, from where an earlier try broke off; its hash is checked.

    Raises:
        CommandError: it did not come as it was stored.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{file['sha256'][:8]}{PARTIAL}")
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={start}-"} if 0 < start < file["size"] else {}
    with panel.stream("GET", f"/files/{fid}/{quote(file['path'])}", headers) as answer:
        mode = "ab" if answer.status_code == 206 else "wb"
        if mode == "ab":
            advance(start)
        with partial.open(mode) as content:
            for piece in answer.iter_bytes(PIECE):
                content.write(piece)
                advance(len(piece))
    with partial.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != file["sha256"]:
        partial.unlink()
        raise CommandError(f"{file['path']} did not come as it was stored; get it again")
    partial.replace(target)


def target_of(path: str, folder: str, into: Path) -> Path:
    """Where a file of a folder is saved; never outside of ``into``, whatever its name is.

    Raises:
        CommandError: this machine cannot hold a file of this name.
    """
    try:
        direction, rest = split(path)
    except FileNameError as exc:
        raise CommandError(str(exc)) from exc
    inside = f"{direction}/{rest}".removeprefix(f"{folder}/") if folder else f"{direction}/{rest}"
    return into.joinpath(*inside.split("/"))


class Resumed:
    """What was begun to be sent and did not end, so that the next try goes on.

    Arguments:
        folder: of the stack, where it is kept.
        files: that are sent; if one of them changed meanwhile, it is another upload.
    """

    def __init__(self, folder: Path, fid: str, into: str, files: list[LocalFile]) -> None:
        facts = [(f.path, f.source.stat().st_size, f.source.stat().st_mtime_ns) for f in files]
        name = hashlib.sha256(json.dumps([fid, into, facts]).encode()).hexdigest()[:32]
        self._path = folder / "sending" / f"{name}.json"
        self.batch = ""
        self.begun: dict[str, str] = {}
        try:
            kept = json.loads(self._path.read_text("utf-8"))
            self.batch, self.begun = str(kept["batch"]), dict(kept["begun"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def keep(self) -> None:
        """Note how far it came."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {"batch": self.batch, "begun": self.begun}
        self._path.write_text(json.dumps(kept), "utf-8")

    def forget(self) -> None:
        """It is done, or cannot go on."""
        self._path.unlink(missing_ok=True)
        self.batch, self.begun = "", {}


def is_gone(panel: Panel, begun: dict[str, str]) -> bool:
    """Whether what was sent earlier is no longer there."""
    try:
        for id_ in begun.values():
            panel.ask("GET", f"/files/upload/{id_}")
    except CommandError:
        return True
    return False
