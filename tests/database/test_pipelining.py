"""Transactions in a pipeline: all of one or nothing, and what comes behind it only then."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from kodosumi_prefect.database import pipelining
from kodosumi_prefect.database.connection import connect_async
from kodosumi_prefect.stream.reader import Reader
from tests.spooler.recording import fresh

ADD = "INSERT INTO kodosumi.execution (fid) VALUES (%(fid)s)"
HEARD = "SELECT pg_notify('pipelining', %(fid)s)"


@pytest.fixture(params=["in a pipeline", "by a libpq without pipelines"])
async def reader(
    database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Reader]:
    if request.param != "in a pipeline":
        monkeypatch.setattr(pipelining.capabilities, "has_pipeline", lambda: False)
    async with Reader(database, "kodosumi", 1) as made:
        yield made


async def store(reader: Reader, fid: str, then: str = "SELECT 1") -> None:
    async with reader.pipelined() as transaction:
        transaction.behind.append((HEARD.encode(), {"fid": fid}))
        await transaction.connection.execute(ADD, {"fid": fid})
        await transaction.connection.execute(then)


async def test_what_comes_behind_is_done_once_the_rest_is_stored(
    database: str, reader: Reader
) -> None:
    fid = fresh()
    async with await connect_async(database) as listening:
        await listening.execute("LISTEN pipelining")
        await store(reader, fid)
        notes = [note.payload async for note in listening.notifies(timeout=5, stop_after=1)]
    assert notes == [fid]
    assert await reader.status(fid)


async def test_nothing_is_stored_where_a_statement_fails_or_the_block_raises(
    database: str, reader: Reader
) -> None:
    fid, later = fresh(), fresh()
    async with await connect_async(database) as listening:
        await listening.execute("LISTEN pipelining")
        with pytest.raises(psycopg.errors.DivisionByZero):
            await store(reader, fid, "SELECT 1/0")
        with pytest.raises(LookupError):
            async with reader.pipelined() as transaction:
                await transaction.connection.execute(ADD, {"fid": fid})
                raise LookupError
        await store(reader, later)  # by the same connection
        notes = [note.payload async for note in listening.notifies(timeout=5, stop_after=1)]
    assert notes == [later]
    assert await reader.status(fid) is None
