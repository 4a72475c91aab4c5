"""Runs that go on at an answer that this panel took, though no process waits for it."""

import asyncio
import logging

import psycopg

from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.launch.prefect_api import prefect_api
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension.resuming import resume

logger = logging.getLogger(__name__)


class Resuming:
    """Resumes runs while those who answered need not wait; the observer sees to what fails."""

    def __init__(self) -> None:
        self._work: set[asyncio.Task[None]] = set()

    def begin(self, fid: str, reader: Reader, settings: Settings) -> None:
        """Have a run go on, if it is suspended."""
        task = asyncio.create_task(_resume(fid, reader, settings), name="resuming")
        self._work.add(task)
        task.add_done_callback(self._work.discard)


async def _resume(fid: str, reader: Reader, settings: Settings) -> None:
    try:
        await resume(fid, reader, lambda: prefect_api(settings))
    except (psycopg.Error, LaunchError, OSError) as exc:
        logger.warning(
            "execution %s is answered and cannot be resumed now; the observer will: %s",
            fid,
            error_line(exc),
        )
