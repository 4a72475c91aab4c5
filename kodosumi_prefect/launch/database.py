"""Our Postgres for launches; a service works without it, with limits."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from kodosumi_prefect.launch.refusal import UnavailableLaunchError
from kodosumi_prefect.settings import DatabaseUrlError, Settings, database_url
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.pool import Pool

R = TypeVar("R")  # a row
T = TypeVar("T")
CONNECTIONS = 2  # one for the wait for another process's lock

_pools: dict[tuple[str, str], Pool] = {}
_making = threading.Lock()


def known(settings: Settings) -> bool:
    """Whether this process knows a database."""
    return settings.database_url is not None or database_url(settings) is not None


async def with_spooler(settings: Settings, what: Callable[[Spooler], T]) -> T:
    """Have ``what`` called with a connection, in a thread.

    Raises:
        LaunchError: no database is configured, or it is away.
    """
    try:
        url = database_url(settings)
    except DatabaseUrlError as exc:
        raise UnavailableLaunchError(str(exc)) from exc
    if url is None:
        raise UnavailableLaunchError(
            "this service has no database_url, where such inputs and schedules are stored;  "
            "set database_url for it",
        )
    try:
        result: T = await asyncio.wrap_future(_pool(url, settings.database_schema).do(what))
    except (psycopg.Error, ProtocolError) as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise UnavailableLaunchError(f"Postgres did not answer: {reason[:200]}") from exc
    return result


async def query_rows(settings: Settings, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a query of ``database/sql``; raises as ``with_spooler``."""
    return await with_spooler(settings, lambda spooler: spooler.query(query, parameters))


async def rows_of(
    settings: Settings, row_type: Callable[..., R], query: str, **parameters: Any
) -> list[R]:
    """As ``query_rows``, each as a ``row_type``, whose fields are the query's columns in order."""
    return [row_type(*row) for row in await query_rows(settings, query, **parameters)]


async def value(settings: Settings, query: str, **parameters: Any) -> Any:
    """The only value of a query's only row; raises as ``ask``."""
    [[only]] = await query_rows(settings, query, **parameters)
    return only


def _pool(url: str, schema: str) -> Pool:
    with _making:
        if (url, schema) not in _pools:
            _pools[url, schema] = Pool(url, schema, CONNECTIONS)
        return _pools[url, schema]
