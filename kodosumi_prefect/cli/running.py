"""Which stacks this user runs, for commands that find none where they look."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kodosumi_prefect.settings import PREFIX, Settings
from kodosumi_prefect.stack.lock import stack_process

COMMANDS = ("up", "demo")
PROGRAM = "kodosumi-prefect"
DATA_DIR = f"{PREFIX}DATA_DIR"


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
                if _is_stack(words):
                    yield from _folder_of(words, process)


def _is_stack(words: list[str]) -> bool:
    names = {Path(word).name for word in words[:3]}
    return bool(names & {PROGRAM, "kodosumi_prefect.cli"}) and any(one in words for one in COMMANDS)


def _folder_of(words: list[str], process: Path) -> Iterator[Path]:
    """The data dir among those that a process may have been given."""
    cwd, pid = (process / "cwd").readlink(), int(process.name)
    candidates = [Path(Settings.model_fields["data_dir"].default).expanduser()]
    for variable in (process / "environ").read_text("utf-8", "replace").split("\0"):
        name, _, value = variable.partition("=")
        if name == DATA_DIR and value:
            candidates.append(cwd / Path(value).expanduser())
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--data-dir":
            candidates.append(cwd / (value if equals else "".join(words[position + 1 :][:1])))
    if "demo" in words:
        candidates.append(cwd / ".kodosumi" / "demo")
    for folder in candidates:
        if stack_process(folder.absolute()) == pid:
            yield folder.absolute()
