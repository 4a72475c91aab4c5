"""The Feed: everything, in order, soon, for everybody, whatever happens to the wake-ups."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.database import listen
from kodosumi_prefect.database.listen import Listener
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream import feed as feed_module
from kodosumi_prefect.stream.feed import End, Feed, Item, Quiet, Reset
from kodosumi_prefect.stream.reader import Reader, StoredEvent, Tail
from tests.spooler.recording import batch, entered, execute, fresh, line_to, said
from tests.waiting import wait_for

PATIENCE = 15.0  # seconds


class Writer:
    """Appends to executions, a batch a call."""

    def __init__(self, url: str) -> None:
        self._spooler = Spooler(url, "kodosumi")
        self._writer = fresh()
        self._numbers: dict[str, int] = {}

    async def __call__(self, fid: str, *events: Event) -> None:
        number = self._numbers[fid] = self._numbers.get(fid, 0) + 1
        one = batch(fid, *events, writer=self._writer, number=number)
        await asyncio.to_thread(self._spooler.append, [one])

    def close(self) -> None:
        self._spooler.close()


@pytest.fixture
def write(database: str) -> Iterator[Writer]:
    made = Writer(database)
    yield made
    made.close()


@asynccontextmanager
async def feed_of(url: str, listen_url: str | None = None) -> AsyncIterator[Feed]:
    async with Reader(url, "kodosumi") as reader, Feed(reader, listen_url or url) as made:
        yield made


@pytest.fixture
async def feed(database: str) -> AsyncIterator[Feed]:
    """A feed that hears its notifications."""
    async with feed_of(database) as made:
        await until(lambda: not made.polling)
        yield made


@pytest.fixture
def fid() -> str:
    return fresh()


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    await asyncio.to_thread(wait_for, condition, seconds)


async def take(items: AsyncIterator[Item], count: int, seconds: float = PATIENCE) -> list[Item]:
    async with asyncio.timeout(seconds):
        return [await anext(items) for _ in range(count)]


async def rest(items: AsyncIterator[Item], seconds: float = PATIENCE) -> list[Item]:
    async with asyncio.timeout(seconds):
        return [item async for item in items]


def seqs(items: list[Item]) -> list[int]:
    return [item.seq for item in items if isinstance(item, StoredEvent)]


def over() -> Event:
    return entered("finished", "Completed", 9.0)


async def test_past_and_future_come_in_one_stream_up_to_the_end(
    feed: Feed, write: Writer, fid: str
) -> None:
    await write(fid, said("1"), said("2"))
    async with aclosing(feed.subscribe(fid)) as items:
        assert seqs(await take(items, 2)) == [1, 2]
        await write(fid, said("3"))
        assert seqs(await take(items, 1)) == [3]
        await write(fid, over())
        await write(fid, said("late"))
        found = await rest(items)
    assert seqs(found) == [4]
    assert found[-1] == End(4)
    assert await rest(feed.subscribe(fid, 3)) == found


async def test_an_event_wakes_its_subscriber_without_waiting_for_the_sweep(
    database: str, write: Writer, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "SWEEP", 60.0)
    monkeypatch.setattr(feed_module, "POLL", 60.0)
    async with feed_of(database) as feed:
        await until(lambda: not feed.polling)
        async with aclosing(feed.subscribe(fid)) as items:
            for seq in range(1, 4):
                pending = asyncio.create_task(take(items, 1, 5.0))
                await until(lambda: feed.subscribers == 1)
                await write(fid, said("x"))
                assert seqs(await pending) == [seq]


async def test_a_wake_up_that_was_lost_is_caught_by_the_sweep(
    feed: Feed, write: Writer, database: str, fid: str
) -> None:
    await write(fid, said("1"))
    async with aclosing(feed.subscribe(fid)) as items:
        assert seqs(await take(items, 1)) == [1]
        pending = asyncio.create_task(take(items, 1, 5.0))
        execute(
            database,
            "INSERT INTO kodosumi.event SELECT id, 2, now(), 'stdout', 'silent'"
            " FROM kodosumi.execution; UPDATE kodosumi.execution SET last_seq = 2",
        )
        assert seqs(await pending) == [2]


async def test_a_subscriber_goes_on_where_it_left(feed: Feed, write: Writer, fid: str) -> None:
    await write(fid, *(said(str(i)) for i in range(1, 8)), over())
    for after in range(9):
        assert seqs(await rest(feed.subscribe(fid, after))) == list(range(after + 1, 9))


async def test_an_execution_that_is_not_there_yet_is_waited_for(
    feed: Feed, write: Writer, fid: str
) -> None:
    async with aclosing(feed.subscribe(fid, quiet=0.1)) as items:
        assert await take(items, 1) == [Quiet()]
        await write(fid, said("1"))
        await write(fid, over())
        assert seqs(await rest(items)) == [1, 2]


async def test_silence_is_told(feed: Feed, write: Writer, fid: str) -> None:
    await write(fid, said("1"))
    async with aclosing(feed.subscribe(fid, quiet=0.1)) as items:
        assert [type(item) for item in await take(items, 3)] == [StoredEvent, Quiet, Quiet]


async def test_kinds_can_be_chosen_and_the_end_comes_all_the_same(
    feed: Feed, write: Writer, fid: str
) -> None:
    async with aclosing(feed.subscribe(fid, kinds={"result"})) as items:
        pending = asyncio.create_task(rest(items))
        await until(lambda: feed.subscribers == 1)
        for i in range(10):
            await write(fid, said(str(i), Kind.RESULT if i % 2 else Kind.STDOUT))
        await write(fid, over())
        found = await pending
    assert seqs(found) == [2, 4, 6, 8, 10]
    assert found[-1] == End(11)
    assert seqs(await rest(feed.subscribe(fid, 4, kinds={"result"}))) == [6, 8, 10]


async def test_subscribers_share_one_read_of_what_is_new(
    feed: Feed, write: Writer, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [feed.subscribe(fid) for _ in range(50)]
    pending = [asyncio.create_task(take(items, 100)) for items in streams]
    await until(lambda: feed.subscribers == 50)
    reads = 0
    page = feed._reader.page

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += 1
        return await page(*args, **kwargs)

    monkeypatch.setattr(feed._reader, "page", counted)
    for i in range(100):
        await write(fid, said(str(i)))
    for found in await asyncio.gather(*pending):
        assert seqs(found) == list(range(1, 101))
    assert reads <= 100
    for items in streams:
        await items.aclose()
    assert feed.subscribers == 0
    assert feed._topics == {}


async def test_a_slow_subscriber_gets_everything_and_holds_up_nobody(
    feed: Feed, write: Writer, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "RING_EVENTS", 50)
    slow = feed.subscribe(fid)
    await write(fid, said("first"))
    assert seqs(await take(slow, 1)) == [1]
    quick = asyncio.create_task(rest(feed.subscribe(fid)))
    for _ in range(20):
        await write(fid, *(said("x") for _ in range(100)))
    await write(fid, over())
    assert seqs(await quick) == list(range(1, 2003))
    (topic,) = feed._topics.values()
    assert len(topic._ring) <= 50
    assert seqs(await rest(slow)) == list(range(2, 2003))


async def test_large_payloads_do_not_pile_up(
    feed: Feed, write: Writer, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "RING_CHARS", 1_000_000)
    slow = feed.subscribe(fid)
    await write(fid, said("first"))
    await take(slow, 1)
    for _ in range(8):
        await write(fid, said("x" * 400_000))
    (topic,) = feed._topics.values()
    await until(lambda: topic.seq == 9)
    assert sum(len(event.payload) for event in topic._ring) <= 1_000_000
    await write(fid, over())
    assert seqs(await rest(slow)) == list(range(2, 11))


async def test_a_cursor_beyond_the_end_is_reset_and_replayed(
    feed: Feed, write: Writer, fid: str
) -> None:
    await write(fid, said("1"), over())
    found = await rest(feed.subscribe(fid, 99))
    assert found[0] == Reset(2)
    assert seqs(found) == [1, 2]
    assert found[-1] == End(2)


async def test_a_database_restored_under_a_subscriber_is_replayed(
    feed: Feed, write: Writer, database: str, fid: str
) -> None:
    await write(fid, *(said(str(i)) for i in range(1, 6)))
    async with aclosing(feed.subscribe(fid)) as items:
        assert seqs(await take(items, 5)) == [1, 2, 3, 4, 5]
        execute(
            database,
            "DELETE FROM kodosumi.event WHERE seq > 2; UPDATE kodosumi.execution SET last_seq = 2",
        )
        assert await take(items, 1) == [Reset(2)]
        assert seqs(await take(items, 2)) == [1, 2]


async def test_a_subscriber_that_read_ahead_of_the_feed_is_not_reset(
    feed: Feed, write: Writer, database: str, fid: str
) -> None:
    """A page is rendered from the database; its stream goes on where the page ends."""
    await write(fid, said("1"))
    async with aclosing(feed.subscribe(fid)) as first:
        await take(first, 1)
        (topic,) = feed._topics.values()
        await until(lambda: topic.pump.done())
        execute(
            database,
            "INSERT INTO kodosumi.event SELECT id, 2, now(), 'stdout', 'silent'"
            " FROM kodosumi.execution; UPDATE kodosumi.execution SET last_seq = 2",
        )
        async with aclosing(feed.subscribe(fid, 2, quiet=0.3)) as second:
            assert await take(second, 1) == [Quiet()]
            await write(fid, said("3"))
            assert seqs(await take(second, 1)) == [3]
        assert seqs(await take(first, 2)) == [2, 3]


async def test_a_run_that_goes_on_after_its_end_can_be_followed_again(
    feed: Feed, write: Writer, fid: str
) -> None:
    await write(fid, said("1"), over())
    assert (await rest(feed.subscribe(fid)))[-1] == End(2)
    await write(fid, entered("running", "Running", 10.0, attempt=2))
    async with aclosing(feed.subscribe(fid, 2)) as items:
        assert seqs(await take(items, 1)) == [3]
        await write(fid, entered("finished", "Completed", 11.0, attempt=2))
        assert seqs(await rest(items)) == [4]


async def test_a_subscriber_outlives_an_outage(write: Writer, database: str, fid: str) -> None:
    await write(fid, said("1"))
    with line_to(database) as line:
        async with feed_of(line.url) as feed:
            await until(lambda: not feed.polling)
            async with aclosing(feed.subscribe(fid)) as items:
                assert seqs(await take(items, 1)) == [1]
                line.cut()
                await until(lambda: not feed.connected)
                await write(fid, said("2"))
                line.restore()
                assert seqs(await take(items, 1)) == [2]
                await until(lambda: feed.connected and not feed.polling)
                await write(fid, said("3"), over())
                assert seqs(await rest(items)) == [3, 4]


async def test_where_notifications_get_lost_the_feed_says_so_and_polls(
    postgres: EmbeddedPostgres,
    write: Writer,
    database: str,
    fid: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """LISTEN in another database hears nothing, as LISTEN through a transaction pooler."""
    monkeypatch.setattr(listen, "PROBE_TIMEOUT", 0.3)
    elsewhere = make_conninfo(postgres.url, dbname="postgres")
    with caplog.at_level(logging.WARNING, logger=feed_module.__name__):
        async with feed_of(database, elsewhere) as feed:
            await until(lambda: "transaction pooler" in caplog.text)
            assert feed.connected
            assert feed.polling
            async with aclosing(feed.subscribe(fid)) as items:
                for seq in range(1, 4):
                    await write(fid, said("x"))
                    assert seqs(await take(items, 1, 3.0)) == [seq]


async def test_a_notification_that_was_lost_once_does_not_have_the_feed_poll_for_ever(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "PROBE_TIMEOUT", 0.3)
    monkeypatch.setattr(listen, "PROBE_AGAIN", 0.2)
    is_probe, lost = Listener.is_probe, []

    def late(self: Listener, payload: str) -> bool:
        if not lost:
            lost.append(payload)
            return True
        return is_probe(self, payload)

    monkeypatch.setattr(Listener, "is_probe", late)
    async with feed_of(database) as feed:
        await until(lambda: lost and not feed.polling)


async def test_tables_that_are_away_for_a_while_stop_nothing(
    feed: Feed, write: Writer, database: str, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a backup is restored."""
    failures = 0
    tails = feed._reader.tails

    async def watched(fids: Sequence[str]) -> dict[str, Tail]:
        nonlocal failures
        try:
            return await tails(fids)
        except psycopg.errors.UndefinedTable:
            failures += 1
            raise

    monkeypatch.setattr(feed._reader, "tails", watched)
    monkeypatch.setattr(feed_module, "SWEEP", 0.1)
    await write(fid, said("1"))
    async with aclosing(feed.subscribe(fid)) as items:
        assert seqs(await take(items, 1)) == [1]
        execute(database, "ALTER TABLE kodosumi.execution RENAME TO away")
        execute(database, f"SELECT pg_notify('kodosumi', '{fid}')")
        pending = asyncio.create_task(take(items, 1))
        await until(lambda: failures >= 3)
        execute(database, "ALTER TABLE kodosumi.away RENAME TO execution")
        await write(fid, said("2"))
        assert seqs(await pending) == [2]
    sweeping = [task for task in feed._tasks if "sweep" in task.get_name()]
    assert not sweeping[0].done()


async def test_a_subscriber_sees_every_event_once_while_many_write(
    feed: Feed, database: str, fid: str
) -> None:
    writers = [Writer(database) for _ in range(8)]

    async def talk(one: Writer) -> None:
        for i in range(30):
            await one(fid, said(str(i)))

    streams = [asyncio.create_task(take(feed.subscribe(fid), 240, 30.0)) for _ in range(3)]
    await asyncio.gather(*(talk(one) for one in writers))
    for found in await asyncio.gather(*streams):
        assert seqs(found) == list(range(1, 241))
    for one in writers:
        one.close()


async def test_a_foreign_notification_harms_nothing(
    feed: Feed, write: Writer, database: str, fid: str
) -> None:
    async with aclosing(feed.subscribe(fid)) as items:
        pending = asyncio.create_task(take(items, 1))
        await until(lambda: feed.subscribers == 1)
        with psycopg.connect(database, autocommit=True) as connection:
            for payload in ("", "nonsense", fresh(), fid):
                connection.execute("SELECT pg_notify('kodosumi', %s)", (payload,))
        await write(fid, said("1"))
        assert seqs(await pending) == [1]
