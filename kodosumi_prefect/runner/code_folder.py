"""The code of a flow as its Ray tasks get it: a copy without what is not code, bounded in size."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_BYTES = 32 * 2**20
MOST_FILES = 5_000
LOOKED_AT = 50_000  # files and folders; beyond that the folder is no project's
CODE = ".py"
EXCLUDED = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".tox",
        ".eggs",
        "site-packages",
    }
)
# They would keep from Ray what is code all the same.
IGNORE_FILES = frozenset({".gitignore", ".rayignore"})


class TooLargeError(Exception):
    """A folder has too much in it to be copied for each run; says what in one line."""


@contextmanager
def copied(folder: Path) -> Iterator[Path | None]:
    """A copy of a folder for the time of the block; None if there is no code in it.

    All of it if that is small, else its Python files.

    Raises:
        TooLargeError: even these are too large.
    """
    files = _files(folder)
    if not any(file.suffix == CODE for file, _ in files):
        yield None
        return
    if _is_large(files):
        files = [(file, size) for file, size in files if file.suffix == CODE]
        if _is_large(files):
            raise TooLargeError(f"{folder} has more than {MOST_FILES:,} Python files or 32 MiB")
    with tempfile.TemporaryDirectory(prefix="kodosumi-code-") as made:
        for file, _ in files:
            place = Path(made) / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / file, place)
        yield Path(made)


def _is_large(files: list[tuple[Path, int]]) -> bool:
    return len(files) > MOST_FILES or sum(size for _, size in files) > MOST_BYTES


def _files(folder: Path) -> list[tuple[Path, int]]:
    """The regular files below a folder, relative to it, and their sizes."""
    files: list[tuple[Path, int]] = []
    seen = 0
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in EXCLUDED]
        seen += len(folders) + len(names)
        if seen > LOOKED_AT:
            raise TooLargeError(f"{folder} has more than {LOOKED_AT:,} files in it")
        for name in names:
            file = Path(where) / name
            if name not in IGNORE_FILES and file.is_file():
                files.append((file.relative_to(folder), file.stat().st_size))
    return files
