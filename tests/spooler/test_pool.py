"""The pool: few connections, one transaction for what waits, errors to whom they concern."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import psycopg
import pytest

from kodosumi_prefect.spooler import pool as pool_module
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import pack
from kodosumi_prefect.spooler.pool import Pool
from kodosumi_prefect.spooler.storing import GapError
from tests.spooler.recording import batch, fresh, payloads, said, stored
from tests.waiting import wait_for


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    made = Pool(database, "kodosumi")
    yield made
    made.close(10)


def hold(database: str, fid: str) -> "psycopg.Connection[Any]":
    """A transaction that keeps others from appending to an execution."""
    connection = psycopg.connect(database)
    connection.execute("SELECT 1 FROM kodosumi.execution WHERE fid = %s FOR UPDATE", (fid,))
    return connection


def test_what_waits_for_an_execution_shares_a_transaction_and_others_pass(
    pool: Pool, database: str
) -> None:
    fid, other = fresh(), fresh()
    pool.append([fid], pack([batch(fid, said("first"))])).result(10)
    with hold(database, fid):
        held = pool.append([fid], pack([batch(fid, said("held"))]))
        wait_for(lambda: not pool._waiting)
        waiting = [pool.append([fid], pack([batch(fid, said(str(i)))])) for i in range(20)]
        assert pool.append([other], pack([batch(other, said("passes"))])).result(10) == 1
        assert not any(future.done() for future in (held, *waiting))
        assert pool.connections == 2
    assert [future.result(10) for future in waiting] == [1] * 20
    assert payloads(database, fid) == ["first", "held", *map(str, range(20))]
    with psycopg.connect(database) as connection:
        (count,) = connection.execute(
            "SELECT count(DISTINCT xmin::text) FROM kodosumi.event WHERE payload ~ '^[0-9]'"
        ).fetchone()
    assert count == 1


def test_one_that_is_refused_does_not_hold_up_those_beside_it(pool: Pool, database: str) -> None:
    fid = fresh()
    pool.append([fid], pack([batch(fid, said("first"))])).result(10)
    with hold(database, fid):
        held = pool.append([fid], pack([batch(fid, said("held"))]))
        wait_for(lambda: not pool._waiting)
        gap = pool.append([fid], pack([batch(fid, said("gap"), number=5)]))
        damaged = pool.append([fid], b"[[]]\n")
        good = pool.append([fid], pack([batch(fid, said("good"), said("better"))]))
    assert held.result(10) == 1
    with pytest.raises(GapError):
        gap.result(10)
    with pytest.raises(ValueError, match="unpack"):
        damaged.result(10)
    assert good.result(10) == 2
    assert payloads(database, fid) == ["first", "held", "good", "better"]


def test_a_delivery_sent_twice_while_it_waits_is_stored_once(pool: Pool, database: str) -> None:
    fid, one = fresh(), None
    pool.append([fid], pack([batch(fid, said("first"))])).result(10)
    one = pack([batch(fid, said("once"))])
    with hold(database, fid):
        futures = [pool.append([fid], one) for _ in range(5)]
    assert [future.result(10) for future in futures] == [1] * 5
    assert [event["payload"] for event in stored(database, fid)] == ["first", "once"]


def test_idle_connections_are_given_back_but_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "IDLE", 0.2)
    pool, fids = Pool(database, "kodosumi"), [fresh() for _ in range(3)]
    try:
        for fid in fids:
            pool.append([fid], pack([batch(fid, said("first"))])).result(10)
        assert pool.connections == 1
        holds = [hold(database, fid) for fid in fids]
        futures = []
        for number, fid in enumerate(fids, 1):
            futures.append(pool.append([fid], pack([batch(fid, said("held"))])))
            wait_for(lambda: not pool._waiting)  # else the next one would share its transaction
            wait_for(lambda number=number: pool.connections == number)
        for held in holds:
            held.close()
        assert [future.result(10) for future in futures] == [1, 1, 1]
        wait_for(lambda: pool.connections == 1)
    finally:
        pool.close(10)
    assert pool.connections == 0


def test_whoever_gives_up_waiting_takes_no_thread_along(database: str) -> None:
    pool = Pool(database, "kodosumi", connections=1)
    begun, go_on, called = threading.Event(), threading.Event(), []

    def slow(spooler: Spooler) -> None:
        begun.set()
        go_on.wait(30)

    async def give_up(future: "Future[Any]") -> None:
        waiting = asyncio.wrap_future(future)
        await asyncio.sleep(0)
        waiting.cancel()

    try:
        running = pool.do(slow)
        assert begun.wait(30)
        fid = fresh()
        waiting = pool.do(lambda spooler: called.append("waiting"))
        delivery = pool.append([fid], pack([batch(fid, said("taken in"))]))
        for future in (running, waiting, delivery):
            asyncio.run(give_up(future))
        go_on.set()
        assert pool.do(lambda spooler: "goes on").result(10) == "goes on"
        assert delivery.result(10) == 1
        assert payloads(database, fid) == ["taken in"]
        assert not called
    finally:
        go_on.set()
        pool.close(10)
