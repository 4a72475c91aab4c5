"""Faults that another start cannot fix: a full disk, a port that another program has."""

import asyncio
import errno
import os
import shutil
import time
from pathlib import Path

from kodosumi_prefect.stack.child import Child, LastingError
from kodosumi_prefect.stack.ports import port_is_free

PORT_FREE_SECONDS = 15.0  # seconds for the last process's own remains to let go of a port
POLL_INTERVAL = 0.1  # seconds
NO_ROOM = 1024 * 1024  # bytes; with less, nothing that writes starts
FULL = {os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)}


async def check_ports(child: Child) -> None:
    """Wait a moment until a child that died can have its ports again.

    Raises:
        LastingError: another program has one of them now.
    """
    deadline = time.monotonic() + PORT_FREE_SECONDS
    for port in child.ports:
        while not port_is_free(port):
            if time.monotonic() > deadline:
                raise LastingError(
                    f"{child.name} cannot be started again: another program has taken its port "
                    f"{port}; end that program, then start this again"
                )
            await asyncio.sleep(POLL_INTERVAL)


def check_room(name: str, folder: Path, failure: str) -> None:
    """Check whether a start failed for lack of disk space.

    Arguments:
        folder: where the part writes.
        failure: what is known about the failed start, the last lines of its log included.

    Raises:
        LastingError: the disk is full, or this user's share of it.
    """
    if any(words in failure for words in FULL) or shutil.disk_usage(folder).free < NO_ROOM:
        raise LastingError(
            f"{name} cannot be started again: no space is left for {folder}; "
            "free some, then start this again"
        )
