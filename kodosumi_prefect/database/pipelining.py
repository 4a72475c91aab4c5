"""Transactions whose statements are sent without waiting for the answers to those before."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

import psycopg
from psycopg import capabilities


class Pipelined:
    """A transaction in a pipeline.

    What Postgres says against a statement whose rows are not fetched is raised by the next fetch,
    or at the end.

    Attributes:
        behind: statements that are sent along with the commit and executed once it is done, in a
            transaction of their own.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connection = connection
        self.behind: list[tuple[bytes, Mapping[str, Any]]] = []


@asynccontextmanager
async def pipelined(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[Pipelined]:
    """A transaction for the block, which is committed unless the block raises.

    A libpq of before version 14 has no pipelines; each statement is waited for then.
    """
    transaction = Pipelined(connection)
    try:
        async with connection.pipeline() if capabilities.has_pipeline() else nullcontext():
            await connection.execute("BEGIN")
            yield transaction
            await connection.execute("COMMIT")
            for query, parameters in transaction.behind:
                await connection.execute(query, parameters)
    except BaseException:
        if not connection.closed:
            with suppress(psycopg.Error):  # the pool looks at what state it is in
                await connection.rollback()
        raise


def is_pipelined(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether it is in a pipeline, where a statement's rows have to be asked for."""
    return connection.pgconn.pipeline_status != psycopg.pq.PipelineStatus.OFF
