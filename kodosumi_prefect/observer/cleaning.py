"""Retention by the leader, once an hour."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable

from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.files.storage import StorageError, storage_of
from kodosumi_prefect.files.upkeep import FileUpkeep
from kodosumi_prefect.settings import Settings, database_url

EVERY = 3600.0  # seconds
LOOKED_THROUGH_EVERY = 86_400.0  # seconds; all of the storage is listed for it

logger = logging.getLogger(__name__)


class Cleaning:
    """Applies the retention settings, portion by portion, in a thread that ends when asked to."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._looked_through_at: float | None = None

    async def look(self) -> None:
        """Delete all that is due, and drop partitions that are empty."""
        await asyncio.to_thread(self._clean)

    def stop(self) -> None:
        """End after the portion under way."""
        self._stopping.set()

    def _clean(self) -> None:
        settings = self._settings
        url = database_url(settings)
        if url is None:
            return
        days, stdio_days = settings.retention_days, settings.retention_stdio_days
        executions = events = contents = 0
        with Retention(url, settings.database_schema) as retention:
            portions = []
            if days is not None:
                portions.append(retention.executions(days))
            if stdio_days is not None:
                portions.append(retention.stdio(stdio_days, kept_days=days))
            if settings.content_retention_days is not None:
                portions.append(retention.contents(settings.content_retention_days))
            for part in (part for portion in portions for part in portion):
                if part.what == "contents":
                    contents += part.events
                else:
                    executions += part.executions
                    events += part.events
                if self._stopping.is_set():
                    return
            dropped = list(retention.partitions())
            retention.forget(settings.launch_key_hours)
            if settings.audit_retention_days is not None:
                for entries in retention.audit(settings.audit_retention_days):
                    logger.info("retention deleted %d audit entries", entries)
                    if self._stopping.is_set():
                        return
            for words in retention.words(settings.outbox_retention_days):
                logger.info("retention deleted %d rows of the outbox", words)
                if self._stopping.is_set():
                    return
        self._clean_files(url)
        if contents:
            logger.info("retention deleted prompts and answers of %d events", contents)
        if executions or events or dropped:
            logger.info(
                "retention deleted %d executions and %d events, and dropped %d partitions",
                executions,
                events,
                len(dropped),
            )

    def _clean_files(self, url: str) -> None:
        """Files that are due, contents that no file has, uploads that came to nothing."""
        settings = self._settings
        try:
            storage = storage_of(settings)
            with FileUpkeep(url, settings.database_schema, storage) as upkeep:
                if not upkeep.is_registered:
                    return  # another machine has it, or nothing was ever stored
                work: list[tuple[str, Iterable[object]]] = []
                if settings.file_retention_days is not None:
                    work.append(("executions' files", upkeep.files(settings.file_retention_days)))
                work.append(("contents without a file", upkeep.dropped()))
                work.append(("uploads that came to nothing", upkeep.uploads(settings.upload_hours)))
                work.append(("contents that broke off", upkeep.broken_off()))
                if self._looks_through(time.monotonic()):
                    work.append(("contents that never were a file", upkeep.orphans()))
                for what, portions in work:
                    for portion in portions:
                        logger.info("deleted %s %s", portion, what)
                        if self._stopping.is_set():
                            return
        except StorageError as exc:
            logger.warning("files are not cleaned up, next try in an hour: %s", exc)

    def _looks_through(self, now: float) -> bool:
        """Whether it is time to look through all of the storage; it counts as done then."""
        last = self._looked_through_at
        if last is not None and now - last < LOOKED_THROUGH_EVERY:
            return False
        self._looked_through_at = now
        return True
