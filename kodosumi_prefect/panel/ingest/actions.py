"""Storing what processes without a database send, each for the execution of its token."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.files.tokens import MOST_MINUTES, RunToken, TokenError, read_token, token_for
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.owner import schedule_of, verified
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.ingest.sent import batches_of, inflated, opens
from kodosumi_prefect.refusals import (
    ForbiddenError,
    NotFoundError,
    OversizedError,
    UnavailableError,
    UnidentifiedError,
)
from kodosumi_prefect.settings import Settings, panel_url
from kodosumi_prefect.spooler.batch import Batch, Header
from kodosumi_prefect.spooler.outcome import Answer, of_error
from kodosumi_prefect.spooler.panel_transport import MOST_BYTES
from kodosumi_prefect.spooler.pool import Pool
from kodosumi_prefect.spooler.standing import Standing
from kodosumi_prefect.stream.reader import Reader

LATE_SECONDS = 3600.0  # after its end for which an execution takes events
CONNECTIONS = 3  # to Postgres
MOST_AT_ONCE = 64 * 1024 * 1024  # bytes of all that is being stored
MOST_OF_ONE = 2 * MOST_BYTES  # likewise, of one execution
LARGE = 1024 * 1024  # bytes; what has more is unpacked one by one
PREFECT_ANSWER_SECONDS = 2.0  # seconds that whose run it is may take
CLOSE_SECONDS = 10.0  # seconds for what is being stored when the panel ends
AGAIN_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Known(NamedTuple):
    """What is known of a token's execution.

    Attributes:
        closed: it takes no events any more.
        owned: it is known whose it is.
    """

    closed: bool
    owned: bool


class Load:
    """How many bytes are in memory, of each execution; bounded."""

    def __init__(self) -> None:
        self._bytes: dict[str, int] = {}

    def take(self, fid: str, size: int) -> None:
        """Count bytes.

        Raises:
            UnavailableError: they are too many now.
        """
        own = self._bytes.get(fid, 0) + size
        if own > MOST_OF_ONE or sum(self._bytes.values()) + size > MOST_AT_ONCE:
            raise UnavailableError(
                "too much is being stored right now; send it again", retry_after=AGAIN_SECONDS
            )
        self._bytes[fid] = own

    def give_back(self, fid: str, size: int) -> None:
        """Count them no longer."""
        left = self._bytes.get(fid, 0) - size
        if left > 0:
            self._bytes[fid] = left
        else:
            self._bytes.pop(fid, None)


class Ingest:
    """Stores deliveries over a few connections of its own, made when the first one comes.

    Arguments:
        settings: the keys, and where Prefect is.
        reader: of the panel.
        url: libpq URL of its database.
    """

    def __init__(self, settings: Settings, reader: Reader, url: str) -> None:
        self._settings = settings
        self._reader = reader
        self._url = url
        self._pool: Pool | None = None
        self._making = threading.Lock()
        self._load = Load()
        self.unpacking = asyncio.Semaphore(1)
        self._instance: str | None = None

    async def close(self) -> None:
        """Store what was taken in, and give the connections back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.close, CLOSE_SECONDS)

    async def admit(self, token: str | None) -> tuple[RunToken, Known]:
        """Whose process this is.

        Raises:
            UnidentifiedError: the token is none, or too old.
            ForbiddenError: its execution has been over for too long.
        """
        if not token:
            raise UnidentifiedError("send the token of an execution")
        try:
            read = read_token(token, self._settings)
        except (TokenError, NoKeyError) as exc:
            raise UnidentifiedError(str(exc)) from exc
        return read, await self.known(read.fid)

    async def known(self, fid: str) -> Known:
        """What is known of an execution that events are to be stored of.

        Raises:
            ForbiddenError: it has been over for too long.
        """
        rows = await self._reader.rows_of(Known, "known_to_writers", fid=fid, late=LATE_SECONDS)
        known = rows[0] if rows else Known(closed=False, owned=False)
        if known.closed:
            raise ForbiddenError(
                f"execution {fid} has been over for more than "
                f"{LATE_SECONDS / 60:.0f} minutes; it takes no more events"
            )
        return known

    async def instance(self) -> str:
        """The id of the database."""
        if self._instance is None:
            [row] = await self._reader.rows("read_instance")
            self._instance = str(row["id"])
        return self._instance

    async def append(
        self, token: str | None, body: AsyncIterator[bytes], encoding: str = ""
    ) -> Answer:
        """Store one delivery of the token's execution, as a Spooler would.

        Arguments:
            body: the packed delivery.
            encoding: how it is compressed.

        Returns:
            What became of it.

        Raises:
            UnidentifiedError, ForbiddenError: as ``admit``; or it is about other executions.
            InvalidError, OversizedError: it is no delivery.
            UnavailableError: too much is being stored right now.
        """
        read, known = await self.admit(token)
        fid = read.fid
        with self.loaded(fid) as load:
            content = bytearray()
            async for piece in body:
                load(len(piece))
                content += piece
                if len(content) > MOST_BYTES:
                    raise OversizedError(f"a delivery has at most {MOST_BYTES:,} bytes")
            batches, size = await self._unpacked(bytes(content), encoding, fid, load)
            content.clear()
            if not known.owned and opens(batches):
                batches = await self._owned(batches)
            storing = self.store(batches, size)
            del batches
            return await storing

    async def store(self, batches: list[Batch], size: int) -> Answer:
        """Store batches, which counts until it is done, though their sender may have gone before.

        Arguments:
            size: bytes that they were sent as.
        """
        stored = asyncio.wrap_future(self._pooled().append_batches(batches, size))
        del batches
        return await self._answer(stored)

    async def heartbeat(self, token: str | None) -> Answer:
        """The process of the token's execution is alive; raises as ``admit``."""
        read, _ = await self.admit(token)
        fids = [read.fid]
        done = self._pooled().do(lambda spooler: spooler.heartbeat(fids))
        return await self._answer(asyncio.wrap_future(done))

    async def standing(self, token: str | None) -> tuple[Answer, Standing | None]:
        """How the token's execution stands against its budgets; raises as ``admit``."""
        read, _ = await self.admit(token)
        asked = self._pooled().do(lambda spooler: spooler.standings([read.fid]))
        found = asyncio.wrap_future(asked)
        answer = await self._answer(found)
        return answer, found.result().get(read.fid) if answer is None else None

    async def _answer(self, done: "asyncio.Future[Any]") -> Answer:
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if not done.done():
                await asyncio.wait([done])
            raise
        except Exception as exc:
            answer = of_error(exc)
            assert answer is not None
            return _plain(answer, exc)
        return None

    async def _unpacked(
        self, content: bytes, encoding: str, fid: str, load: Any
    ) -> tuple[list[Batch], int]:
        if len(content) <= LARGE and not encoding:
            return await asyncio.to_thread(_unpack, content, encoding, fid)
        async with self.unpacking:
            whole = await asyncio.to_thread(inflated, content, encoding)
            load(max(len(whole) - len(content), 0))
            return await asyncio.to_thread(_unpack, whole, "", fid)

    async def _owned(self, batches: list[Batch]) -> list[Batch]:
        """The same, with whose execution it is, as Prefect has it in what only we can sign."""
        access = prefect_access(self._settings)
        if access is None:
            return batches
        try:
            async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
                with access.in_force():
                    client = await asyncio.to_thread(get_client)
                    async with client:
                        run = await client.read_flow_run(UUID(batches[0].fid))
        except (TimeoutError, httpx.HTTPError, PrefectException, OSError, RuntimeError) as exc:
            logger.info("Prefect does not say whose run %s is: %s", batches[0].fid, exc)
            return batches
        owner = verified(run.labels or {}, run.idempotency_key, self._settings)
        known = Header(owner=owner.user if owner is not None else None, schedule=schedule_of(run))
        return [batch._replace(header=Header(**batch.header, **known)) for batch in batches]

    def _pooled(self) -> Pool:
        with self._making:
            if self._pool is None:
                self._pool = Pool(self._url, self._settings.database_schema, CONNECTIONS)
            return self._pool

    @contextmanager
    def loaded(self, who: str) -> Iterator[Any]:
        """Counts bytes that are in memory for the time of a request.

        Arguments:
            who: whose they are: an execution's, or an account's.
        """
        taken = 0

        def load(size: int) -> None:
            nonlocal taken
            self._load.take(who, size)
            taken += size

        try:
            yield load
        finally:
            self._load.give_back(who, taken)


async def token(
    ingest: Ingest, settings: Settings, user: User, reader: Reader, fid: UUID, minutes: float
) -> dict[str, Any]:
    """A token of an execution, for who may change it.

    Raises:
        NotFoundError: there is no such execution, or none that they may see. Operators get one for
            a run that nobody recorded yet.
        ForbiddenError: it is not theirs.
        UnavailableError: there is no key to make it with.
    """
    row = await reader.status(str(fid), user.sees(settings))
    if row is None and not user.operator:
        raise NotFoundError(f"there is no execution {fid}")
    if row is not None and not user.owns(row.owner):
        raise ForbiddenError("only the owner of the execution and operators may do this")
    try:
        made = token_for(str(fid), settings, minutes)
    except NoKeyError as exc:
        raise UnavailableError(str(exc)) from exc
    await ingest.admit(made)
    until = time.time() + min(minutes, MOST_MINUTES) * 60
    return {"fid": str(fid), "token": made, "until": until, "panel_url": panel_url(settings)}


def _unpack(content: bytes, encoding: str, fid: str) -> tuple[list[Batch], int]:
    whole = inflated(content, encoding)
    return batches_of(whole, fid), len(whole)


def _plain(answer: tuple[str, tuple[Any, ...]], error: Exception) -> Answer:
    """An outcome that says nothing of the database: its address is not for who sent this."""
    which, values = answer
    if which == "psycopg":
        logger.warning("Postgres did not store what was sent: %s", " ".join(str(error).split()))
        return which, (values[0], "the panel's Postgres does not store it now")
    if which == "fault":
        logger.error("unexpected error in storing what was sent", exc_info=error)
        return which, ("the panel failed; its log has the details",)
    return answer
