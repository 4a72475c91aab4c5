"""One stack per data dir."""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from kodosumi_prefect.settings import make_data_dir
from kodosumi_prefect.stack.child import StackError
from kodosumi_prefect.stack.keeper import start_of

REMAINS_TIMEOUT = 90.0  # seconds for the keeper of a killed stack to end its processes
POLL_INTERVAL = 0.1  # seconds


async def take_lock(data_dir: Path, on_wait: Callable[[], None]) -> IO[str]:
    """Make this process the one that runs the stack of a data dir.

    If the last owner was killed and its keeper still ends what it left, that is waited for.

    Arguments:
        on_wait: called once if there is something to wait for.

    Raises:
        StackError: another process runs it, or the folder is not writable.
    """
    file = _open(data_dir)
    deadline = time.monotonic() + REMAINS_TIMEOUT
    waited = False
    try:
        while not _locked(file):
            owner = _owner(file)
            if owner.get("started") == start_of(int(owner.get("pid", 0))) is not None:
                raise StackError(
                    f"{data_dir} is already up, run by process {owner['pid']}; "
                    "stop that one or use another data_dir"
                )
            if time.monotonic() > deadline:
                raise StackError(
                    f"processes of the last stack on {data_dir} do not end; end them, "
                    f"{data_dir / 'run' / 'children.json'} lists them"
                )
            if not waited:
                on_wait()
                waited = True
            await asyncio.sleep(POLL_INTERVAL)
    except BaseException:
        file.close()
        raise
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "started": start_of(os.getpid())}))
    file.flush()
    return file


def stack_process(data_dir: Path) -> int | None:
    """The process that runs the stack of a data dir now, or None.

    Raises:
        OSError: the folder is not readable for this user.
    """
    try:
        with (data_dir / "up.lock").open() as file:
            owner = _owner(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    pid = int(owner.get("pid", 0))
    return pid if owner.get("started") == start_of(pid) is not None else None


def _open(data_dir: Path) -> IO[str]:
    try:
        make_data_dir(data_dir)
        path = data_dir / "up.lock"
        # Whoever can open it can hold it, and keep this from starting.
        path.touch(mode=0o600)
        path.chmod(0o600)
        return path.open("a+")
    except OSError as exc:
        raise StackError(
            f"data_dir {data_dir} is not usable for uid {os.geteuid()}: {exc.strerror}; "
            "change its owner or set another data_dir"
        ) from exc


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        owner = json.loads(file.read())
    except ValueError:  # it is being written
        return {}
    return owner if isinstance(owner, dict) else {}
