"""Connections that somebody on the way forgot: they stay open, and nothing comes through."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect.database import connection as connection_module
from kodosumi_prefect.database import listen
from kodosumi_prefect.database import pool as pool_module
from kodosumi_prefect.database.connection import NoAnswerError, connect, connect_async, silences
from kodosumi_prefect.database.listen import Listener
from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.observer import leader
from kodosumi_prefect.runner.registry import AwayError, Registry
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stream import settled_locks as leases_module
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.settled_locks import Leases
from tests.answering import answer
from tests.locks.test_answering import lock
from tests.spooler.recording import Line, batch, fresh, line_to, said

PATIENCE = 20.0  # seconds for what takes a fraction of one


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bounds, small."""
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT", 0.5)
    monkeypatch.setattr(connection_module, "CANCEL_TIMEOUT", 0.2)
    monkeypatch.setitem(connection_module.CONNECTION_DEFAULTS, "connect_timeout", 2)
    monkeypatch.setattr(connection_module, "ROUND_TRIP", 0.2)
    monkeypatch.setattr(connection_module, "ROUND_TRIP_TIMEOUT", 0.3)
    monkeypatch.setattr(pool_module, "ANSWER_TIMEOUT", 0.5)
    monkeypatch.setattr(listen, "PROBE_AGAIN", 0.3)
    monkeypatch.setattr(leases_module, "PROVE", 0.2)
    monkeypatch.setattr(leader, "ANSWER", 0.5)
    monkeypatch.setattr(leader, "PROOF", 0.1)


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    with line_to(database) as made:
        yield made


@pytest.fixture
def spooler(database: str) -> Iterator[Spooler]:
    made = Spooler(database, "kodosumi")
    yield made
    made.close()


@pytest.fixture
async def reader(line: Line) -> AsyncIterator[Reader]:
    async with asyncio.timeout(3 * PATIENCE), Reader(line.url, "kodosumi") as made:
        yield made


async def until(condition, seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_read_that_is_swallowed_ends_and_leaves_no_dead_connection_behind(
    line: Line, reader: Reader
) -> None:
    before = silences()
    await asyncio.gather(*(reader.execute("server") for _ in range(6)))
    line.forget()
    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(
            *(reader.execute("server") for _ in range(4)), return_exceptions=True
        )
    silent = [exc for exc in found if isinstance(exc, BaseException)]
    assert silent
    assert all(isinstance(exc, NoAnswerError) for exc in silent)
    assert silences() - before >= len(silent)
    # Those that nobody used are gone as well.
    async with asyncio.timeout(PATIENCE):
        assert all(await asyncio.gather(*(reader.execute("server") for _ in range(6))))


async def test_connections_that_were_forgotten_while_idle_cost_no_error(
    line: Line, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "PROVE_AFTER", 0.0)
    monkeypatch.setattr(pool_module, "PROVE_TIMEOUT", 0.2)
    await asyncio.gather(*(reader.execute("server") for _ in range(6)))
    line.forget()
    async with asyncio.timeout(PATIENCE):
        assert all(await asyncio.gather(*(reader.execute("server") for _ in range(6))))


async def test_a_pipeline_that_is_swallowed_ends_and_the_next_one_works(
    line: Line, reader: Reader
) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(NoAnswerError):
            async with reader.pipelined() as transaction:
                await (await transaction.connection.execute("SELECT 1")).fetchone()
                line.forget()
                await transaction.connection.execute("SELECT 2")
        async with reader.pipelined() as transaction:
            assert await (await transaction.connection.execute("SELECT 3")).fetchone()


async def test_a_transaction_that_is_swallowed_ends_and_the_next_one_works(
    line: Line, reader: Reader
) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(NoAnswerError):
            async with reader.transaction() as connection:
                await connection.execute("SELECT 1")
                line.forget()
                await connection.execute("SELECT 2")
        async with reader.transaction() as connection:
            assert await (await connection.execute("SELECT 3")).fetchone()


async def test_while_nothing_comes_through_reads_end_and_afterwards_they_go_on(
    line: Line, reader: Reader
) -> None:
    await reader.execute("server")
    line.hang()
    for _ in range(2):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(psycopg.OperationalError):
                await reader.execute("server")
    line.resume()

    async def works() -> bool:
        try:
            return bool(await reader.execute("server"))
        except psycopg.OperationalError:
            return False

    async with asyncio.timeout(PATIENCE):
        while not await works():
            pass


async def test_a_cancelled_statement_does_not_wait_ten_seconds_for_a_server_that_is_gone(
    line: Line,
) -> None:
    connection = await connect_async(line.url, answer_timeout=60.0)
    asking = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
    await until(lambda: connection.pgconn.transaction_status == 1)  # at work
    line.forget()
    line.hang()
    asking.cancel()
    done, _ = await asyncio.wait([asking], timeout=4.0)  # psycopg itself takes ten
    assert done
    assert connection.closed


async def test_a_cancelled_statement_of_a_living_server_ends_there_and_the_connection_stays(
    database: str,
) -> None:
    connection = await connect_async(database, answer_timeout=60.0)
    async with connection:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.execute("SELECT pg_sleep(60)")
        assert await (await connection.execute("SELECT 1")).fetchone()


@pytest.mark.parametrize("reads_too", [False, True], ids=["LISTEN alone", "reads as well"])
async def test_the_feed_goes_on_by_new_connections(
    line: Line, database: str, spooler: Spooler, reads_too: bool
) -> None:
    fid, writer = fresh(), fresh()
    spooler.append([batch(fid, said("1"), writer=writer)])
    async with (
        Reader(line.url if reads_too else database, "kodosumi") as reader,
        Feed(reader, line.url) as feed,
        aclosing(feed.subscribe(fid)) as items,
    ):
        async with asyncio.timeout(PATIENCE):
            assert (await anext(items)).seq == 1
        await until(lambda: feed.state == "listening")
        assert feed.round_trip_age is not None
        line.forget()
        spooler.append([batch(fid, said("2"), writer=writer, number=2)])
        async with asyncio.timeout(PATIENCE):
            assert (await anext(items)).seq == 2
        await until(lambda: feed.losses > 0 and feed.state == "listening")


async def test_the_feed_polls_while_it_hears_nothing_of_itself(
    line: Line, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that answers and notifies of nothing any more, as behind some poolers."""
    monkeypatch.setattr(listen, "PROBE_TIMEOUT", 0.2)
    async with Reader(database, "kodosumi") as reader, Feed(reader, line.url) as feed:
        await until(lambda: feed.state == "listening")
        monkeypatch.setattr(Listener, "is_probe", lambda self, payload: True)
        await until(lambda: feed.losses > 0 and feed.polling)


async def test_whoever_waits_for_a_lock_hears_of_it(
    line: Line, database: str, spooler: Spooler
) -> None:
    fid, lid = fresh(), fresh()
    spooler.append([batch(fid, lock(lid))])
    leases = Leases(line.url, "kodosumi")
    waiting = asyncio.create_task(leases.settled({lid: fid}, 60.0))
    await until(lambda: leases.connected and not leases.polling)
    line.forget()
    await asyncio.to_thread(answer, database, fid, lid, "yes")
    try:
        async with asyncio.timeout(PATIENCE):
            assert [settled.lid for settled in await waiting] == [lid]
    finally:
        await leases.close()


async def test_a_worker_listens_anew_and_goes_on_without_the_table(
    line: Line, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = settings.model_copy(update={"database_url": SecretStr(line.url)})
    registry = Registry(used, "one", 60.0)
    try:
        async with aclosing(registry.messages()) as messages, asyncio.timeout(PATIENCE):
            assert await anext(messages) is None
            await registry._ask("read_instance")
            line.forget()
            assert await anext(messages) is None  # listens again
            with pytest.raises(AwayError):
                await registry._ask("read_instance")
            assert await registry._ask("read_instance")
    finally:
        await registry.close()


async def test_an_observer_that_is_cut_off_does_not_go_on_leading(
    line: Line, settings: Settings
) -> None:
    used = settings.model_copy(update={"database_url": SecretStr(line.url)})
    async with asyncio.timeout(PATIENCE), leader.leading(used) as lost:
        line.forget()
        await lost.wait()


def test_retention_and_whatever_else_asks_ends(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kodosumi_prefect.database.retention.PORTION_TIMEOUT", 0.3)
    with Retention(line.url, "kodosumi") as retention:
        line.forget()
        with pytest.raises(NoAnswerError):
            list(retention.executions(1.0))
    with connect(line.url) as connection:
        line.forget()
        with pytest.raises(NoAnswerError):
            connection.execute("SELECT 1")
        assert connection.closed
