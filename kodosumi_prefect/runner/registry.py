"""Which worker answers for which flow run, in Postgres; flow runs go on without it."""

import asyncio
import json
import os
import platform
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from prefect.logging import get_logger
from psycopg.rows import AsyncRowFactory, class_row, scalar_row

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database import channels
from kodosumi_prefect.database.connection import BoundedAsyncConnection, connect_async
from kodosumi_prefect.database.listen import Listener
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.database.worker_messages import Message, parse
from kodosumi_prefect.settings import VERSION, Settings, database_url, listen_url
from kodosumi_prefect.vocabulary import POOL_TYPE

ANSWER = 4.0  # seconds Postgres has for a statement
RELISTEN_FIRST = 0.5  # seconds
RELISTEN_MOST = 10.0  # seconds

logger = get_logger(POOL_TYPE)  # shown where Prefect's own are

R = TypeVar("R")  # a row


@dataclass(frozen=True, slots=True)
class KnownRunner:
    """The Runner that table ``runner`` has for a flow run.

    Attributes:
        actor_name: None if there was none yet.
        pid: of the process that executes the run; None until it is there.
    """

    actor_name: str | None
    pid: int | None


class AwayError(Exception):
    """Postgres does not answer now."""


class Registry:
    """Table ``runner`` as one worker uses it.

    A claim keeps two workers of a pool from taking over the same run. Losing Postgres costs
    that, and the panel's view of who runs what; no run waits for it or fails because of it.

    Arguments:
        worker: name of the worker.
        claim_seconds: for which a claim holds unless it is renewed.
    """

    def __init__(self, settings: Settings, worker: str, claim_seconds: float) -> None:
        self._settings = settings
        self._queries = Queries(settings.database_schema)
        self._worker = worker
        self._claim_seconds = claim_seconds
        self._connection: BoundedAsyncConnection | None = None
        self._one_at_a_time = asyncio.Lock()
        self._away = False

    async def claim(
        self,
        fid: UUID,
        attempt: int,
        pool: str,
        namespace: str,
        *,
        leg: int = 0,
        mine: bool = False,
    ) -> KnownRunner | None:
        """Answer for a flow run.

        Arguments:
            leg: of the attempt.
            mine: Prefect handed the run to this worker, whoever had an earlier attempt of it.

        Returns:
            The Runner known for it, ``actor_name`` None if there was none; None if another
            worker answers for the run.

        Raises:
            AwayError: Postgres is away.
        """
        rows = await self._rows(
            class_row(KnownRunner),
            "claim_runner",
            fid=fid,
            attempt=attempt,
            leg=leg,
            worker=self._worker,
            pool=pool,
            namespace=namespace,
            lease=self._claim_seconds,
            mine=mine,
        )
        return rows[0] if rows else None

    async def place(
        self,
        fid: UUID,
        actor_name: str,
        node: str | None = None,
        pid: int | None = None,
    ) -> None:
        """Write down which Runner has a flow run; with ``pid`` once its process is there."""
        await self._tell(
            "place_runner",
            fid=fid,
            worker=self._worker,
            actor_name=actor_name,
            node=node,
            pid=pid,
            state="starting" if pid is None else "running",
        )

    async def renew(self, fids: Sequence[UUID]) -> None:
        """Keep answering for flow runs."""
        if fids:
            await self._tell(
                "renew_runners", fids=list(fids), worker=self._worker, lease=self._claim_seconds
            )

    async def lapsed(self, pool: str, namespace: str) -> list[UUID]:
        """Flow runs of a pool whose worker no longer answers for them; none if Postgres is away."""
        try:
            return await self._ask("lapsed_runners", pool=pool, namespace=namespace)
        except AwayError as exc:
            logger.debug("lapsed Runners could not be read from Postgres: %s", exc)
            return []

    async def forget(self, fid: UUID) -> None:
        """A flow run is over."""
        await self._tell("forget_runner", fid=fid, worker=self._worker)

    async def report(self, info: dict[str, Any]) -> None:
        """Report that this worker runs, and its figures."""
        await self._tell(
            "report_service",
            kind="worker",
            name=self._worker,
            host=platform.node(),
            pid=os.getpid(),
            version=VERSION,
            info=json.dumps(info),
        )

    async def leave(self) -> None:
        """Report that this worker ends; others may answer for its flow runs at once."""
        await self._tell("release_runners", worker=self._worker)
        await self._tell("forget_service", kind="worker", name=self._worker, pid=os.getpid())

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def messages(self) -> AsyncIterator[Message | None]:
        """Messages to the workers of this database; None where some may have been missed."""
        arrived: asyncio.Queue[Message | None] = asyncio.Queue()
        listener = Listener(
            channels.workers(self._settings.database_schema),
            lambda: listen_url(self._settings),
            what="messages to workers",
            meanwhile="runs are polled",
            backoff=Backoff(RELISTEN_FIRST, RELISTEN_MOST),
            logger=logger,
        )

        async def follow(connection: BoundedAsyncConnection) -> None:
            arrived.put_nowait(None)
            async for payload in listener.notes(connection):
                if (message := parse(payload)) is not None:
                    arrived.put_nowait(message)

        listening = asyncio.ensure_future(listener.run(follow))
        try:
            while True:
                waiting = asyncio.ensure_future(arrived.get())
                try:
                    await asyncio.wait({waiting, listening}, return_when=asyncio.FIRST_COMPLETED)
                    if not waiting.done():
                        listening.result()
                    message = waiting.result()
                finally:
                    waiting.cancel()
                yield message
        finally:
            await cancel_all([listening])

    async def _tell(self, query: str, **parameters: Any) -> None:
        """As ``_ask`` where nothing depends on the answer."""
        try:
            await self._ask(query, **parameters)
        except AwayError as exc:
            logger.debug("%s could not be written to Postgres: %s", query, exc)

    async def _ask(self, query: str, **parameters: Any) -> list[Any]:
        """The first column of a query's rows; raises as ``claim``."""
        return await self._rows(scalar_row, query, **parameters)

    async def _rows(
        self, row_factory: AsyncRowFactory[R], query: str, **parameters: Any
    ) -> list[R]:
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(ANSWER):
                    connection = await self._connected()
                    async with connection.cursor(row_factory=row_factory) as cursor:
                        await cursor.execute(self._queries[query], parameters)
                        rows = await cursor.fetchall() if cursor.description else []
            except (psycopg.Error, OSError, TimeoutError) as exc:
                await self._drop()
                if not self._away:
                    logger.warning(
                        "Postgres does not answer the worker; runs go on without it: %s",
                        " ".join(str(exc).split()) or type(exc).__name__,
                    )
                self._away = True
                raise AwayError(str(exc)) from exc
        if self._away:
            logger.warning("Postgres answers the worker again")
        self._away = False
        return rows

    async def _connected(self) -> BoundedAsyncConnection:
        if self._connection is None or self._connection.closed:
            url = database_url(self._settings)
            if url is None:
                raise OSError(f"no database_url is set and no Postgres runs for {self._where}")
            self._connection = await connect_async(url, answer_timeout=ANSWER)
        return self._connection

    @property
    def _where(self) -> str:
        return str(self._settings.data_dir)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
