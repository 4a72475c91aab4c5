"""Starts the Spooler of a stack's Ray, from a short-lived process.

A process that joins Ray keeps threads and memory for it, which the panel's should not.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable

from kodosumi_prefect.secret_variables import inherited_environment

COMMAND = [sys.executable, "-m", "kodosumi_prefect.cli", "spool", "start"]


async def start_spooler(
    environment: dict[str, str], on_progress: Callable[[str, str], None]
) -> None:
    """Run ``kodosumi-prefect spool start``; without a Spooler, Ray processes write themselves.

    Arguments:
        environment: what the command needs to find database and Ray, beside this process's.
        on_progress: called with the outcome.
    """
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        env=inherited_environment() | environment,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode == 0:
        on_progress("spooler", "ready")
        return
    lines = errors.decode(errors="replace").strip().splitlines() or [f"exit {process.returncode}"]
    on_progress(
        "spooler", f"did not start, Ray processes write to Postgres themselves: {lines[-1]}"
    )
