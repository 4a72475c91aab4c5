"""The way from a process to its run's files: straight, or through the panel.

Straight goes who knows the database and reaches the very storage that it was registered with; a
folder of the same name on another machine is another storage. All others ask the panel, with a
token of the run.
"""

import logging
import os
import threading
from concurrent.futures import Future
from typing import Any, cast

import psycopg

from kodosumi_prefect.events import Event
from kodosumi_prefect.files.access import access_to
from kodosumi_prefect.files.binding import Append
from kodosumi_prefect.files.storage import Storage, StorageError, storage_of
from kodosumi_prefect.files.uploads import Query
from kodosumi_prefect.run_files.panel_place import PanelPlace
from kodosumi_prefect.run_files.places import DirectPlace, FilePlace, FilesAwayError
from kodosumi_prefect.settings import DatabaseUrlError, Settings, database_url
from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.spooler.one_event import append_events
from kodosumi_prefect.spooler.pool import Pool

CONNECTIONS = 1
ANSWER = 60.0  # seconds for Postgres

logger = logging.getLogger(__name__)


_pools: dict[tuple[str, str], Pool] = {}
_making = threading.Lock()
# Storages that were the registered one when they were last asked for, by their database and schema.
_reached: dict[tuple[str, str], Storage] = {}


def place_of(fid: str, settings: Settings) -> FilePlace:
    """Where the files of an execution are, from here.

    Raises:
        FilesAwayError: neither the storage nor the panel can be reached from here.
        StorageError: the storage that is configured here cannot be used.
    """
    query = query_of(settings)
    if query is not None and (direct := _direct_storage(settings, query)) is not None:
        return DirectPlace(fid, direct, query)
    return panel_of(fid, settings)


def _direct_storage(settings: Settings, query: Query) -> Storage | None:
    """The registered storage, if it is reached from here; without Postgres, the one of before."""
    key = (database_url(settings) or "", settings.database_schema)
    try:
        storage = reached_storage(settings, query)
    except FilesAwayError as exc:
        if (known := _reached.get(key)) is None:
            raise
        logger.info("files go to the storage that was registered before: %s", exc)
        return known
    if storage is not None:
        _reached[key] = storage
    return storage


def panel_of(fid: str, settings: Settings) -> PanelPlace:
    """The panel, for the files of an execution.

    Raises:
        FilesAwayError: this process does not know it.
    """
    access = access_to(fid, settings)
    if access is None:
        raise FilesAwayError(
            "this process reaches neither the storage of files nor a panel: hand it a tracer of "
            "the run, or set panel_url and secret_key"
        )
    return PanelPlace(fid, access.panel_url, access.token)


def query_of(settings: Settings) -> Query | None:
    """A way to the database; None if it is not known here."""
    pool = _pool_of(settings)
    if pool is None:
        return None

    def query(name: str, parameters: dict[str, Any]) -> list[Any]:
        done = pool.do(lambda spooler: spooler.query(name, parameters))
        return cast("list[Any]", _result(done, "does not list the files"))

    return query


def append_of(settings: Settings) -> Append | None:
    """A way to store an event at once; None if the database is not known here."""
    pool = _pool_of(settings)
    if pool is None:
        return None

    def append(fid: str, event: Event) -> None:
        _result(pool.do(lambda spooler: append_events(spooler, fid, event)), "takes no event")

    return append


def _pool_of(settings: Settings) -> Pool | None:
    try:
        url = database_url(settings)
    except DatabaseUrlError as exc:
        raise FilesAwayError(str(exc)) from exc
    if url is None:
        return None
    with _making:
        key = (url, settings.database_schema)
        return _pools.get(key) or _pools.setdefault(key, Pool(*key, CONNECTIONS))


def _result(done: Future[Any], what: str) -> Any:
    try:
        return done.result(ANSWER)
    except (psycopg.Error, ProtocolError, TimeoutError) as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise FilesAwayError(f"Postgres {what}: {reason[:300]}") from exc


def reached_storage(settings: Settings, query: Query) -> Storage | None:
    """The registered storage, if it is reached from here."""
    known = [identity for (identity,) in query("registered_storage", {})]
    try:
        storage = storage_of(settings)
        own = storage.known_identity()
    except StorageError as exc:
        if settings.file_storage_url is not None:
            raise
        logger.debug("files go through the panel: %s", exc)
        return None
    return storage if own is not None and known == [own] else None


def _forget_pools() -> None:
    """A forked process makes its own connections."""
    global _making
    _making = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_pools)
