"""The loop around LISTEN: connects again, checks that notifications arrive, logs each once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database import listen
from kodosumi_prefect.database.connection import BoundedAsyncConnection, connect_async
from kodosumi_prefect.database.listen import Listener
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.spooler.recording import Line, line_to

CHANNEL = "numbers"
PATIENCE = 20.0  # seconds for what takes a fraction of one


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "PROBE_AGAIN", 0.2)
    monkeypatch.setattr(listen, "PROBE_TIMEOUT", 0.5)


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    with line_to(database) as made:
        yield made


@pytest.fixture
async def notify(database: str) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    async with await connect_async(database) as connection:

        async def send(payload: str) -> None:
            await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))

        yield send


def listener(url: str | None, **more: Any) -> Listener:
    return Listener(
        CHANNEL,
        lambda: url,
        what="numbers",
        meanwhile="counting alone",
        backoff=Backoff(0.05, 0.2),
        **more,
    )


@asynccontextmanager
async def followed(one: Listener) -> AsyncIterator[list[str]]:
    """What is heard; ``new`` for each connection."""
    heard: list[str] = []

    async def follow(connection: BoundedAsyncConnection) -> None:
        heard.append("new")
        async for payload in one.notes(connection):
            heard.append(payload)

    running = asyncio.create_task(one.run(follow))
    try:
        yield heard
        assert not running.done()
    finally:
        await cancel_all([running])


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def lines(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [text for text in caplog.messages if words in text]


async def test_a_lost_connection_is_made_again_and_both_is_logged_once(
    line: Line, notify: Callable[[str], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    one = listener(line.url)
    async with followed(one) as heard:
        await until(lambda: one.connected)
        await notify("1")
        await until(lambda: heard == ["new", "1"])
        line.cut()
        await until(lambda: not one.connected)
        await asyncio.sleep(1.0)  # several tries
        line.restore()
        await until(lambda: one.connected)
        await notify("2")
        await until(lambda: heard == ["new", "1", "new", "2"])
    assert one.losses == 1
    assert len(lines(caplog, "cannot listen for numbers now, counting alone: ")) == 1
    assert len(lines(caplog, "listening for numbers again after ")) == 1


async def test_a_first_connection_that_fails_is_logged_once_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = listener(None)
    async with followed(one):
        await asyncio.sleep(0.5)
    assert one.losses == 0
    assert lines(caplog, "cannot listen") == [
        "cannot listen for numbers now, counting alone: there is no database"
    ]


async def test_it_ends_once_nobody_wants_it() -> None:
    async with asyncio.timeout(PATIENCE):
        await listener(None).run(_never, wanted=iter([True, True, False]).__next__)


async def _never(connection: BoundedAsyncConnection) -> None:
    raise AssertionError


async def test_a_mistake_of_whoever_follows_is_not_tried_again(database: str) -> None:
    with pytest.raises(AssertionError):
        await listener(database).run(_never)


async def on_own(connection: BoundedAsyncConnection, payload: str) -> None:
    await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))


@pytest.mark.parametrize("once", [True, False], ids=["once", "again and again"])
async def test_while_notifications_arrive_nobody_polls_and_probes_are_not_told(
    database: str, notify: Callable[[str], Awaitable[Any]], once: bool
) -> None:
    async def elsewhere(_: BoundedAsyncConnection, payload: str) -> None:
        await notify(payload)

    one = listener(database, send=on_own if once else elsewhere, once=once)
    assert one.polling
    async with followed(one) as heard:
        await until(lambda: not one.polling)
        first = one.proven_at
        await notify("1")
        if not once:
            await until(lambda: one.proven_at != first)
        await until(lambda: "1" in heard)
        assert heard == ["new", "1"]
    assert one.polling  # it does not listen any more


@pytest.mark.parametrize("once", [True, False], ids=["once", "again and again"])
async def test_where_notifications_do_not_arrive_it_polls_and_says_so_once(
    postgres: EmbeddedPostgres,
    notify: Callable[[str], Awaitable[Any]],
    once: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another database hears nothing of this one, as behind a transaction pooler."""
    sent = 0

    async def elsewhere(_: BoundedAsyncConnection, payload: str) -> None:
        nonlocal sent
        sent += 1
        await notify(payload)

    nearby = make_conninfo(postgres.url, dbname="postgres")
    one = listener(nearby, send=elsewhere, once=once, poll=0.5)
    async with followed(one) as heard:
        await until(lambda: lines(caplog, "transaction pooler; polling every 0.5 s"))
        if not once:
            await until(lambda: sent >= 3)
        assert one.connected
        assert one.polling
        assert heard == ["new"]
    assert len(lines(caplog, "transaction pooler")) == 1


async def test_notifications_that_stop_arriving_cost_the_connection(
    database: str, notify: Callable[[str], Awaitable[Any]]
) -> None:
    arrives = True

    async def elsewhere(_: BoundedAsyncConnection, payload: str) -> None:
        if arrives:
            await notify(payload)

    one = listener(database, send=elsewhere)
    async with followed(one) as heard:
        await until(lambda: not one.polling)
        arrives = False
        await until(lambda: one.losses == 1 and heard == ["new", "new"])
        assert one.connected
        arrives = True
        await until(lambda: not one.polling)


async def test_a_probe_that_cannot_be_sent_says_nothing_about_arrival(
    database: str,
    notify: Callable[[str], Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(listen, "SEND_AGAIN", 0.1)
    away = True

    async def elsewhere(_: BoundedAsyncConnection, payload: str) -> None:
        if away:
            raise psycopg.OperationalError("the pool is empty")
        await notify(payload)

    one = listener(database, send=elsewhere)
    with caplog.at_level(logging.DEBUG, logger=listen.__name__):
        async with followed(one) as heard:
            await until(lambda: lines(caplog, "cannot send a notification now"))
            away = False
            await until(lambda: not one.polling)
            assert heard == ["new"]
    assert not lines(caplog, "transaction pooler")
