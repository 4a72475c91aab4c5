"""The panel's way to the contents of files, and its work on them beside requests."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar, cast

import psycopg

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database.rows.files import Upload
from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import Event
from kodosumi_prefect.files.binding import Binding, OtherExecutionError, SameNameError
from kodosumi_prefect.files.limits import FileLimitError
from kodosumi_prefect.files.names import FileNameError
from kodosumi_prefect.files.scan import FileRefusedError, ScanError
from kodosumi_prefect.files.storage import Storage, StorageError, storage_of
from kodosumi_prefect.files.uploads import (
    IncompleteUploadError,
    UnknownUploadError,
    upload_of,
    whole,
)
from kodosumi_prefect.refusals import (
    ConflictError,
    InvalidError,
    NotFoundError,
    OversizedError,
    RefusedError,
    UnavailableError,
)
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import ProtocolError
from kodosumi_prefect.spooler.one_event import append_events
from kodosumi_prefect.spooler.pool import Pool

LARGEST_CHUNK = 10 * 1024**2  # bytes; Kodosumi's page sends 1 MiB, its Python client 5 MiB
CONNECTIONS = 2  # to Postgres, for work in threads
THREADS = 6  # that copy, join and hash
ASSEMBLED = 2  # files that are put together at once beside requests
ANSWER = 60.0  # seconds for Postgres
RETRY = 5.0  # seconds after which a client may ask again
CLOSING = 5.0  # seconds

logger = logging.getLogger(__name__)
T = TypeVar("T")

REFUSALS: dict[type[KodosumiError], type[RefusedError]] = {
    UnknownUploadError: NotFoundError,
    IncompleteUploadError: ConflictError,
    SameNameError: ConflictError,
    OtherExecutionError: ConflictError,
    FileLimitError: OversizedError,
    FileNameError: InvalidError,
    FileRefusedError: InvalidError,
    ScanError: UnavailableError,
    StorageError: UnavailableError,
}


class Depot:
    """Storage and database for files; an async context manager.

    Arguments:
        url: libpq URL.

    Attributes:
        trouble: why the storage is not usable, in one line; None if it is.
    """

    def __init__(self, settings: Settings, url: str) -> None:
        self.settings = settings
        self.trouble: str | None = None
        self._pool = Pool(url, settings.database_schema, CONNECTIONS)
        self._threads = ThreadPoolExecutor(THREADS, "kodosumi-panel-files")
        self._storage: Storage | None = None
        self._assembled: dict[str, asyncio.Task[None]] = {}
        self._few = asyncio.Semaphore(ASSEMBLED)

    async def __aenter__(self) -> Self:
        try:
            await self.storage()
        except RefusedError as exc:
            logger.error("files are out of reach: %s", exc.detail)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await cancel_all(list(self._assembled.values()))
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._pool.close, CLOSING)

    async def storage(self) -> Storage:
        """The storage, once it is the registered one.

        Raises:
            UnavailableError: it cannot be used, or the files are in another one.
        """
        if self._storage is None:
            try:
                self._storage = await self.run(self._registered)
                self.trouble = None
            except RefusedError as exc:
                self.trouble = exc.detail
                raise
        return self._storage

    async def run(self, do: Callable[..., T], *arguments: Any) -> T:
        """Do what blocks, in a thread.

        Raises:
            RefusedError: why it is not done, for errors of files.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, do, *arguments)
        except KodosumiError as exc:
            raise refusal(exc) from exc
        except ProtocolError as exc:
            raise UnavailableError(str(exc)) from exc

    def query(self, name: str, parameters: dict[str, Any]) -> list[Any]:
        """The rows of a query of ``database/sql``; blocks."""
        done = self._pool.do(lambda spooler: spooler.query(name, parameters))
        return cast("list[Any]", _answered(done.result))

    def append(self, fid: str, *events: Event) -> None:
        """Store events of an execution; blocks."""
        _answered(self._pool.do(lambda spooler: append_events(spooler, fid, *events)).result)

    def binding(self, storage: Storage) -> Binding:
        """What gives uploaded files to executions; blocks."""
        return Binding(storage, self.query, self.append, self.settings)

    def assemble(self, upload: str) -> None:
        """Begin to put together a file whose chunks are there, unless that was begun."""
        if upload in self._assembled:
            return
        task = asyncio.create_task(self._assemble(upload), name=f"assemble {upload}")
        self._assembled[upload] = task
        task.add_done_callback(lambda _: self._assembled.pop(upload, None))

    async def assembled(self, uploads: Iterable[Upload]) -> None:
        """Wait until those of these files are put together whose chunks are there.

        Why one cannot be is told when it is asked for.
        """
        chosen = list(uploads)
        for upload in chosen:
            if 1 < upload.chunks == upload.received and not upload.is_whole:
                self.assemble(upload.id)
        if tasks := [
            task for id_, task in self._assembled.items() if id_ in {u.id for u in chosen}
        ]:
            await asyncio.wait(tasks)

    async def _assemble(self, upload: str) -> None:
        async with self._few:
            try:
                storage = await self.storage()
                await self.run(self.whole, upload, storage)
            except (RefusedError, psycopg.Error) as exc:  # told again when it is asked for
                logger.info("upload %s is not put together yet: %s", upload, exc)

    def whole(self, upload: str, storage: Storage) -> Any:
        """The upload, put together and looked at; blocks."""
        return whole(upload_of(upload, self.query), storage, self.query, self.settings)

    def _registered(self) -> Storage:
        storage = storage_of(self.settings)
        own = storage.identity()
        self.query("register_storage", {"identity": own, "url": storage.url})
        known = [identity for (identity,) in self.query("registered_storage", {})]
        if known != [own]:
            raise StorageError(
                f"file_storage_url leads to another storage ({own}) than the one that the files of "
                f"this database are in ({', '.join(known)}); set it to that one, or copy all of it"
            )
        return storage


def refusal(exc: KodosumiError) -> RefusedError:
    """What an error of files is to somebody who asks."""
    kind = next((REFUSALS[each] for each in type(exc).__mro__ if each in REFUSALS), None)
    if kind is None:
        raise exc
    retry = RETRY if kind is UnavailableError else None
    return kind(str(exc), retry_after=retry)


def _answered(result: Callable[[float], T]) -> T:
    try:
        return result(ANSWER)
    except TimeoutError as exc:
        raise psycopg.OperationalError(f"no answer within {ANSWER:.0f} s") from exc
