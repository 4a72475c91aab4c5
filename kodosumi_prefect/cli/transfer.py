"""Files between this machine and the panel, with what of them has gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from kodosumi_prefect.cli.output import CommandError, errors
from kodosumi_prefect.client import LocalFile
from kodosumi_prefect.client.transfer import Advance
from kodosumi_prefect.client.transfer import local_files as found
from kodosumi_prefect.files.names import FileNameError, split


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
    """As ``client.transfer.local_files``.

    Raises:
        CommandError: there is nothing, or something whose name no file of a run can have.
    """
    try:
        return found(source, into)
    except (FileNotFoundError, FileNameError) as exc:
        raise CommandError(str(exc)) from exc


def size_of(files: list[LocalFile]) -> int:
    """Bytes of all files."""
    return sum(file.source.stat().st_size for file in files)


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
