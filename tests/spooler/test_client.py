"""The spool client: never in the way, never losing, never doubling, in order."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from kodosumi_prefect.events import Kind
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import delivery, freezing, inbox
from kodosumi_prefect.spooler.batch import Header
from kodosumi_prefect.spooler.client import SpoolClient, get_client
from tests.spooler.clients import both_ways
from tests.spooler.recording import (
    Line,
    entered,
    fresh,
    payloads,
    row,
    said,
)
from tests.waiting import wait_for


def test_importing_and_asking_for_a_client_start_no_thread() -> None:
    code = (
        "import threading, kodosumi_prefect.spooler.client as c, kodosumi_prefect.stream.feed;"
        "c.get_client(); print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@both_ways
def test_eight_threads_lose_nothing_and_keep_their_order(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make()

    def talk(name: int) -> None:
        for i in range(2500):
            client.emit(fid, said(f"{name} {i}"))

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(30)
    texts = payloads(database, fid)
    assert len(texts) == 20_000
    for name in range(8):
        mine = [text for text in texts if text.startswith(f"{name} ")]
        assert mine == [f"{name} {i}" for i in range(2500)]


def test_an_event_is_stored_at_once_without_a_flush(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make()
    client.emit(fid, said("1"))
    wait_for(lambda: payloads(database, fid) == ["1"], 5)


def test_several_executions_of_one_process_do_not_mix(
    make: Callable[..., SpoolClient], database: str
) -> None:
    client, fids = make(), [fresh() for _ in range(20)]
    client.describe(fids[0], Header(flow_name="report"))
    for i in range(50):
        for fid in fids:
            client.emit(fid, said(f"{fid} {i}"))
    assert client.flush(30)
    for fid in fids:
        assert payloads(database, fid) == [f"{fid} {i}" for i in range(50)]
    assert row(database, fids[0])["flow_name"] == "report"


@both_ways
def test_events_emitted_together_are_stored_in_one_transaction(
    make: Callable[..., SpoolClient], database: str, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BATCH_EVENTS", 2)
    client = make()
    for i in range(50):
        client.emit(fid, said("alone"))
        client.emit_together(fid, tuple(said(str(i)) for _ in range(3)))
    assert client.flush(30)
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT count(DISTINCT xmin::text), count(*) FROM kodosumi.event"
            " WHERE payload <> 'alone' GROUP BY payload"
        ).fetchall()
    assert found == [(1, 3)] * 50


@both_ways
def test_ten_megabytes_arrive_whole(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client, text = make(), "0123456789\n" * 953_250
    client.emit(fid, said("before"))
    client.emit(fid, said(text, Kind.RESULT))
    client.emit(fid, said("after"))
    assert client.flush(30)
    assert payloads(database, fid) == ["before", text, "after"]
    assert client._inbox._large == 0


def test_switched_off_nothing_is_taken_and_nothing_runs(
    make: Callable[..., SpoolClient], fid: str
) -> None:
    client = make(enabled=False)
    client.emit(fid, said("1"))
    client.emit_together(fid, (said("2"),))
    assert client.undelivered == 0
    assert client._thread is None
    assert client.flush(0)


def test_one_client_a_database(settings: Settings) -> None:
    assert get_client(settings) is get_client(settings.model_copy())
    other = settings.model_copy(update={"database_schema": "other"})
    assert get_client(other) is not get_client(settings)


def test_an_unused_connection_is_given_back(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    client = make(idle_connection=0.3)
    client.emit(fid, said("1"))
    assert client.flush(10)
    assert line.connections == 1
    wait_for(lambda: line.connections == 0, 5)
    client.emit(fid, said("2"))
    assert client.flush(10)
    assert payloads(database, fid) == ["1", "2"]


def test_a_hurried_client_keeps_the_connection_it_made(
    make: Callable[..., SpoolClient], line: Line
) -> None:
    client = make()
    client.hurry(10)
    assert client._delivery.route.direct is not None
    connection = client._delivery.route.direct._connection
    assert connection is not None
    client._inbox.put(barrier := inbox.Barrier())
    assert barrier.passed.wait(10)
    assert client._delivery.route.direct._connection is connection
    assert line.connections == 1


def test_hurrying_in_an_outage_costs_no_more_than_its_timeout(
    make: Callable[..., SpoolClient], line: Line
) -> None:
    line.hang()
    client = make()
    began = time.monotonic()
    client.hurry(0.3)
    assert time.monotonic() - began < 8  # a connection is waited for longer


@both_ways
def test_followed_executions_get_heartbeats_until_they_are_left(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make(heartbeat_interval=0.1)
    client.emit(fid, said("1"))
    assert client.flush(10)
    assert row(database, fid)["heartbeat_at"] is None
    client.follow(fid)
    client.emit(fid, said("2"))  # wakes the thread
    first = wait_for(lambda: row(database, fid)["heartbeat_at"])
    wait_for(lambda: row(database, fid)["heartbeat_at"] > first)
    client.unfollow(fid)
    client.emit(fid, entered("finished", "Completed", time.time()), alive=False)
    assert client.flush(10)
    assert row(database, fid)["heartbeat_at"] is None


@both_ways
def test_a_heartbeat_that_failed_is_sent_again_long_before_the_next_one_is_due(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    client = make(heartbeat_interval=600)
    client.emit(fid, said("1"))
    assert client.flush(10)
    line.cut()
    client.follow(fid)
    client._inbox.put(barrier := inbox.Connect())  # wakes the thread, without an event
    assert barrier.passed.wait(10)
    assert row(database, fid)["heartbeat_at"] is None
    line.restore()
    wait_for(lambda: row(database, fid)["heartbeat_at"], 10)


def test_a_flood_of_one_execution_does_not_stop_the_heartbeats_of_another(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client, flooding, over = make(heartbeat_interval=0.1), fresh(), threading.Event()
    client.emit(fid, said("1"))
    client.follow(fid)
    assert client.flush(10)

    def flood() -> None:
        while not over.is_set():
            client.emit(flooding, said("x" * 2000))

    talking = threading.Thread(target=flood)
    talking.start()
    try:
        wait_for(lambda: client._delivery.undelivered.queue, 10)
        first = wait_for(lambda: row(database, fid)["heartbeat_at"])
        wait_for(lambda: row(database, fid)["heartbeat_at"] > first, 10)
    finally:
        over.set()
        talking.join()
    assert client.flush(60)


def test_a_process_that_saw_many_executions_forgets_them_and_loses_nothing(
    make: Callable[..., SpoolClient], database: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(freezing, "KNOWN_EXECUTIONS", 3)
    client = make()
    fids = [fresh() for _ in range(8)]
    client.describe(fids[0], Header(summary="the first"))
    client.follow(fids[0])
    for turn in range(3):
        for fid in fids:
            client.emit(fid, said(f"turn {turn}"))
            assert client.flush(10)
    for fid in fids:
        assert payloads(database, fid) == ["turn 0", "turn 1", "turn 2"]
    assert row(database, fids[0])["summary"] == "the first"
    wait_for(lambda: len(client._delivery.freezing._numbers) <= 3, 5, "the client to forget")
    assert set(client._delivery.freezing.headers) == {fids[0]}
