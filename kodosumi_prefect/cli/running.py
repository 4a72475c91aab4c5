"""Which stacks this user runs, for commands that find none where they look."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.settings.fields import Settings as Fields
from kodosumi_prefect.stack.lock import stack_process

COMMANDS = ("up", "demo")
PROGRAM = "kodosumi-prefect"


def hint(settings: Settings) -> str:
    """Where a stack runs that was perhaps meant; empty if none does.

    Arguments:
        settings: of the command, in whose data dir none runs.
    """
    others = sorted(folder for folder in set(_folders()) if folder != settings.data_dir)
    if not others:
        return ""
    return f"; running: {', '.join(f'--data-dir {folder}' for folder in others)}"


def _folders() -> Iterator[Path]:
    """The data dirs of stacks that this user's processes run, as far as they can be seen."""
    for process in Path("/proc").glob("[0-9]*"):  # none elsewhere than on Linux
        with suppress(OSError, ValueError):
            if process.stat().st_uid == os.getuid():
                words = (process / "cmdline").read_text("utf-8", "replace").split("\0")
                cwd = (process / "cwd").readlink()
                yield from _folder_of(words, cwd, int(process.name))


def _folder_of(words: list[str], cwd: Path, pid: int) -> Iterator[Path]:
    names = [Path(word).name for word in words[:3]]
    if PROGRAM not in names and "kodosumi_prefect.cli" not in names:
        return
    candidates = [Path(Fields.model_fields["data_dir"].default).expanduser()]
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--data-dir":
            candidates.append(cwd / (value if equals else "".join(words[position + 1 :][:1])))
    if "demo" in words:
        candidates.append(cwd / ".kodosumi" / "demo")
    for folder in candidates:
        if stack_process(folder.absolute()) == pid:
            yield folder.absolute()
