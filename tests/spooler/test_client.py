"""The spool client: never in the way, never losing, never doubling, in order."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect.database import connection as connection_module
from kodosumi_prefect.events import DROPPABLE_KINDS, Event, Kind
from kodosumi_prefect.settings import Settings, write_address
from kodosumi_prefect.spooler import client as client_module
from kodosumi_prefect.spooler import freezing, inbox, spill, undelivered
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Header
from kodosumi_prefect.spooler.client import SpoolClient, get_client
from kodosumi_prefect.spooler.replay import replay_orphans
from tests.spooler.recording import (
    Line,
    batch,
    entered,
    execute,
    fresh,
    line_to,
    payloads,
    row,
    said,
    slow_table,
    stored,
    words_on_disk,
)
from tests.waiting import wait_for

MEBIBYTE = 1024 * 1024


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """The way to the database, which can be cut."""
    with line_to(database) as made:
        yield made


@pytest.fixture
def make(line: Line, tmp_path: Path) -> Iterator[Callable[..., SpoolClient]]:
    """Makes clients that write over ``line``; keywords change their settings."""
    made: list[SpoolClient] = []

    def build(**changes: Any) -> SpoolClient:
        values = {"database_url": SecretStr(line.url), "data_dir": tmp_path} | changes
        made.append(SpoolClient(Settings(**values)))
        return made[-1]

    yield build
    line.cut()
    for client in made:
        client.settings = client.settings.model_copy(update={"flush_timeout": 0.0})
        client.close()


@pytest.fixture
def fid() -> str:
    return fresh()


def spill_files(settings: Settings) -> list[Path]:
    return sorted(spill.folder(settings).glob("*"))


def spilled(client: SpoolClient) -> bool:
    """Whether the client has noticed the outage and moved everything to its file."""
    return not client.connected and client._inbox.empty() and not client._undelivered.queue


def script(code: str, settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    """Run code that finds ``client`` and ``said`` ready, in another process."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    head = f"""
import os, sys, time
from pathlib import Path
from pydantic import SecretStr
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.settings import Settings, reset_settings
from kodosumi_prefect.spooler.client import get_client
reset_settings(Settings(database_url=SecretStr({url!r}) if {url!r} else None,
    data_dir=Path({str(settings.data_dir)!r}), flush_timeout={settings.flush_timeout}))
client = get_client()
def say(fid, text, kind=Kind.STDOUT):
    client.emit(fid, Event(time.time(), kind, text))
"""
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_importing_and_asking_for_a_client_start_no_thread() -> None:
    code = (
        "import threading, kodosumi_prefect.spooler.client as c, kodosumi_prefect.stream.feed;"
        "c.get_client(); print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


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


def test_events_emitted_together_are_stored_in_one_transaction(
    make: Callable[..., SpoolClient], database: str, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BATCH_EVENTS", 2)
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


def test_ten_megabytes_arrive_whole(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client, text = make(), "0123456789\n" * 953_250
    client.emit(fid, said("before"))
    client.emit(fid, said(text, Kind.RESULT))
    client.emit(fid, said("after"))
    assert client.flush(30)
    assert payloads(database, fid) == ["before", text, "after"]
    assert client._large == 0


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


# Outages.


def test_an_outage_is_bridged_by_a_file_and_everything_arrives_in_order_once(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    client = make()
    client.emit(fid, said("0"))
    assert client.flush(10)
    line.cut()
    for i in range(1, 5000):
        client.emit(fid, said(str(i)))
    wait_for(lambda: spilled(client))
    (file,) = spill_files(client.settings)
    assert file.stat().st_size > 5000
    assert file.stat().st_mode & 0o777 == 0o600
    line.restore()
    client.emit(fid, said("5000"))
    assert client.flush(20)
    assert payloads(database, fid) == [str(i) for i in range(5001)]
    assert spill_files(client.settings) == []
    assert client.connected


def test_a_line_that_breaks_again_and_again_loses_and_doubles_nothing(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    """Broken anywhere, also between a commit and its acknowledgement."""
    client, over = make(), threading.Event()

    def break_it() -> None:
        while not over.is_set():
            line.cut()
            over.wait(0.05)
            line.restore()
            over.wait(0.25)

    breaking = threading.Thread(target=break_it)
    breaking.start()
    for i in range(3000):
        client.emit(fid, said(str(i)))
        if i % 10 == 0:
            over.wait(0.005)
    over.set()
    breaking.join()
    assert client.flush(20)
    assert payloads(database, fid) == [str(i) for i in range(3000)]
    assert [event["seq"] for event in stored(database, fid)] == list(range(1, 3001))


@pytest.mark.parametrize("connected", [False, True], ids=["while connecting", "in mid-flow"])
def test_emit_does_not_wait_for_a_database_that_hangs(
    make: Callable[..., SpoolClient],
    line: Line,
    database: str,
    fid: str,
    connected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT", 60.0)
    monkeypatch.setitem(connection_module.CONNECTION_DEFAULTS, "connect_timeout", 60)
    client = make()
    client.emit(fid, said("first"))
    if connected:
        assert client.flush(10)
    line.hang()
    began = time.monotonic()
    for i in range(10_000):
        client.emit(fid, said(str(i)))
    assert time.monotonic() - began < 30  # one that waited would have waited for 60 s
    line.cut()
    assert client.flush(2.5) is False
    assert not client.connected
    assert spill_files(client.settings) != []
    line.resume()
    line.restore()
    wait_for(lambda: client.undelivered == 0)
    assert client.flush(10)
    assert payloads(database, fid) == ["first", *(str(i) for i in range(10_000))]


def test_events_survive_a_process_that_ends_while_the_database_hangs(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path, flush_timeout=0.5)
    code = """
from kodosumi_prefect.database import connection as s
from kodosumi_prefect.spooler import client as c
c.ANSWER_TIMEOUT = s.ANSWER_TIMEOUT = 1.5
s.CONNECTION_DEFAULTS["connect_timeout"] = 2
say(sys.argv[1], "0")
assert client.flush(10)
print("connected", flush=True)
sys.stdin.readline()
say(sys.argv[1], "1")
assert client.flush() is False
"""
    with script(code, settings, fid) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        line.hang()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(30) == 0, process.stderr and process.stderr.read()
    line.resume()
    deliver_orphans(settings, database)
    assert payloads(database, fid) == ["0", "1"]


def deliver_orphans(settings: Settings, database: str) -> dict[str, int]:
    """What ``kodosumi-prefect spool replay`` does, past the line that may be cut."""
    spooler = Spooler(database, "kodosumi")
    try:
        return replay_orphans(settings, spooler)
    finally:
        spooler.close()


def test_flush_tells_whether_everything_is_stored(
    make: Callable[..., SpoolClient], line: Line, fid: str
) -> None:
    client = make()
    assert client.flush(0)  # nothing was emitted
    client.emit(fid, said("1"))
    assert client.flush(10)
    line.cut()
    client.emit(fid, said("2"))
    began = time.monotonic()
    assert client.flush(1.0) is False
    assert time.monotonic() - began >= 1.0
    assert spill_files(client.settings) != []
    line.restore()
    wait_for(lambda: client.connected)
    assert client.flush(10)


def test_a_flush_that_gave_up_is_not_waited_for_again_in_the_same_outage(
    make: Callable[..., SpoolClient], line: Line, fid: str
) -> None:
    line.cut()
    client = make(flush_timeout=3.0)
    waits = []
    for _ in range(3):
        client.emit(fid, said("x"))
        began = time.monotonic()
        assert client.flush() is False
        waits.append(time.monotonic() - began)
    assert waits[0] >= 3.0
    assert max(waits[1:]) < 2.5
    line.restore()
    wait_for(lambda: client.connected and not client.undelivered)
    line.cut()
    client.emit(fid, said("x"))
    began = time.monotonic()
    assert client.flush() is False
    assert time.monotonic() - began >= 3.0  # another outage


def test_without_a_database_flush_returns_at_once_and_the_events_wait_in_a_file(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make(database_url=None)
    client.emit(fid, said("1"))
    began = time.monotonic()
    assert client.flush() is False
    client.emit(fid, said("2"))
    assert client.flush() is False
    assert time.monotonic() - began < 5
    wait_for(lambda: spilled(client))
    (file,) = spill_files(client.settings)
    assert file.read_bytes().count(b'"stdout"') == 2
    client.close()
    assert client.flush() is False


def test_a_database_that_comes_up_later_gets_what_was_emitted_without_it(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make(database_url=None)
    client.emit(fid, said("1"))
    assert client.flush() is False
    write_address(client.settings, "postgres", {"url": database})
    wait_for(lambda: client.connected and not client.undelivered)
    assert payloads(database, fid) == ["1"]


def test_a_database_that_demands_newer_writers_gets_nothing_and_loses_nothing(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    execute(database, "UPDATE kodosumi.instance SET oldest_writer = 2")
    client = make(flush_timeout=0.5)
    client.emit(fid, said("1"))
    assert client.flush() is False
    client.emit(fid, said("2"))
    wait_for(lambda: spilled(client))
    assert spill_files(client.settings) != []
    execute(database, "UPDATE kodosumi.instance SET oldest_writer = 1")
    wait_for(lambda: client.connected)
    assert client.flush(10)
    assert payloads(database, fid) == ["1", "2"]


def test_a_database_restored_from_a_backup_gets_what_comes_and_nothing_twice(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make()
    for text in ("1", "2", "3"):
        client.emit(fid, said(text))
        assert client.flush(10)
    execute(
        database,
        "DELETE FROM kodosumi.event WHERE seq > 1; UPDATE kodosumi.execution SET last_seq = 1;"
        " UPDATE kodosumi.writer SET last_batch = 1",
    )
    for text in ("4", "5"):
        client.emit(fid, said(text))
        assert client.flush(10)
    assert payloads(database, fid) == ["1", "4", "5"]
    execute(database, "DELETE FROM kodosumi.execution; DELETE FROM kodosumi.event")
    client.emit(fid, said("6"))
    assert client.flush(10)
    assert payloads(database, fid) == ["6"]


def test_an_event_that_cannot_be_written_to_the_file_as_it_is_is_not_lost(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    line.cut()
    client = make()
    client.emit_together(fid, (said("a\ud800b"), said("c\x00d")))
    wait_for(lambda: spilled(client))
    line.restore()
    client.emit(fid, said("after"))
    assert client.flush(10)
    assert payloads(database, fid) == ["a�b", "c␀d", "after"]


# Bounds.


def tell_all(client: SpoolClient, fid: str, numbers: range) -> None:
    """Stdio events of 1,000 characters, each hundredth followed by a main one."""
    for i in numbers:
        client.emit(fid, said(f"{i} ".ljust(1000, "."), Kind.STDOUT))
        if i % 100 == 0:
            client.emit(fid, said(str(i), Kind.RESULT))


def check_bounded(database: str, fid: str, count: int) -> None:
    """Main events are all there in order, and what is missing of stdio is counted exactly."""
    found = stored(database, fid)
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    results = [event["payload"] for event in found if event["kind"] == Kind.RESULT]
    assert results == [str(i) for i in range(0, count, 100)]
    output = [int(e["payload"].split()[0]) for e in found if e["kind"] == Kind.STDOUT]
    assert output == sorted(set(output))
    missing = [e["source"]["missing"] for e in found if "missing" in (e["source"] or {})]
    assert missing, "nothing was dropped, so that this test shows nothing"
    assert sum(missing) + len(output) == count
    # Everything stands in order: a result comes after the output that came before it, if kept.
    position = -1
    for event in found:
        if event["kind"] in (Kind.STDOUT, Kind.RESULT):
            number = int(event["payload"].split()[0])
            assert number >= position
            position = number


def test_past_the_files_bound_output_is_counted_and_main_events_are_kept(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    line.cut()
    client = make(spill_bytes=200_000)
    tell_all(client, fid, range(100))
    wait_for(lambda: spilled(client))
    tell_all(client, fid, range(100, 10_000))
    wait_for(lambda: client._inbox.empty())
    (file,) = spill_files(client.settings)
    assert file.stat().st_size < 5_000_000
    line.restore()
    assert client.flush(20) or client.flush(20)
    check_bounded(database, fid, 10_000)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 512 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_full_disk_main_events_are_kept_in_memory_and_order_holds(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str, tiny_disk: Path
) -> None:
    line.cut()
    client = make(data_dir=tiny_disk, buffer_bytes=5 * MEBIBYTE)
    tell_all(client, fid, range(200))
    wait_for(lambda: spilled(client))
    tell_all(client, fid, range(200, 10_000))
    wait_for(lambda: client._inbox.empty())
    assert client._undelivered.queue
    assert client._undelivered.spill
    (file,) = spill_files(client.settings)
    wait_for(lambda: file.read_bytes().endswith(b"\n"), what="a whole delivery at the end")
    line.restore()
    assert client.flush(20) or client.flush(20)
    check_bounded(database, fid, 10_000)
    assert client._undelivered.bytes == 0


def test_where_files_may_not_grow_flows_go_on(line: Line, tmp_path: Path, database: str, fid: str):
    """As above by RLIMIT_FSIZE, where nobody may mount."""
    line.cut()
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
client.settings = client.settings.model_copy(update={"buffer_bytes": 5_000_000})
for i in range(10_000):
    say(sys.argv[1], f"{i} ".ljust(1000, "."))
    if i % 100 == 0:
        say(sys.argv[1], str(i), Kind.RESULT)
deadline = time.monotonic() + 30
while client.connected or not client._inbox.empty():
    assert time.monotonic() < deadline
    time.sleep(0.02)
print("told", flush=True)
assert client.flush(30)
"""
    with script(code, settings, fid) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "told\n", process.stderr and process.stderr.read()
        line.restore()
        assert process.wait(60) == 0
    check_bounded(database, fid, 10_000)


def test_emitters_faster_than_a_stuck_thread_lose_counted_output_only(
    make: Callable[..., SpoolClient],
    line: Line,
    database: str,
    fid: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "INBOX_SOFT", 1000)
    monkeypatch.setattr(client_module, "INBOX_HARD", 1200)
    monkeypatch.setitem(connection_module.CONNECTION_DEFAULTS, "connect_timeout", 3)
    client = make()
    monkeypatch.setattr(client, "_gather", lambda: None)  # both threads are stuck
    line.hang()
    client.emit(fid, said("0 ", Kind.STDOUT))
    wait_for(lambda: line.connections == 1)
    for i in range(1, 1600):
        client.emit(fid, said(f"{i} ", Kind.STDOUT))
        if i % 100 == 0:
            client.emit(fid, said(str(i), Kind.RESULT))
    line.resume()
    assert client.flush(30)
    found = stored(database, fid)
    missing = [e["source"]["missing"] for e in found if "missing" in (e["source"] or {})]
    assert sum(missing) > 0
    assert sum(missing) + sum(e["kind"] == "stdout" for e in found) == 1600
    assert [e["payload"] for e in found if e["kind"] == "result"] == [
        str(i) for i in range(100, 1600, 100)
    ]


def test_memory_is_bounded_through_an_outage_and_everything_arrives(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    """300,000 events of 1,000 characters: 300 MB, of which a fraction may be in memory."""
    line.cut()
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    code = """
def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
say(sys.argv[1], "0")
client.flush(0.2)
before = resident()
most = 0
for i in range(1, 300_001):
    say(sys.argv[1], str(i).ljust(1000))
    if not i % 1000:
        most = max(most, resident())
print(most - before, flush=True)
while client.undelivered:
    time.sleep(0.05)
assert client.flush(10)
"""
    with script(code, settings, fid) as process:
        assert process.stdout is not None
        grown = int(process.stdout.readline())
        line.restore()
        assert process.wait(100) == 0, process.stderr and process.stderr.read()
    assert grown < 250, f"grew by {grown} MB"
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE trim(payload)::bigint = seq - 1),"
            " max(seq) FROM kodosumi.event"
        ).fetchone()
    assert found == (300_001, 300_001, 300_001)


def test_a_steady_load_is_not_mistaken_for_a_backlog(
    make: Callable[..., SpoolClient], fid: str
) -> None:
    """Delivered bytes leave the account of memory, so that nothing goes through a file."""
    client = make(buffer_bytes=2 * MEBIBYTE)
    for i in range(60):
        for _ in range(100):
            client.emit(fid, said("x" * 1000))
        wait_for(lambda: client.undelivered < 50)
        assert not client._undelivered.spill, i
    assert client.flush(20)
    assert client._undelivered.bytes == 0


# Connections and heartbeats.


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
    assert client._route.direct is not None
    connection = client._route.direct._connection
    assert connection is not None
    client._inbox.put(barrier := inbox.Barrier())
    assert barrier.passed.wait(10)
    assert client._route.direct._connection is connection
    assert line.connections == 1


def test_hurrying_in_an_outage_costs_no_more_than_its_timeout(
    make: Callable[..., SpoolClient], line: Line
) -> None:
    line.hang()
    client = make()
    began = time.monotonic()
    client.hurry(0.3)
    assert time.monotonic() - began < 8  # a connection is waited for longer


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
        wait_for(lambda: client._undelivered.queue, 10)
        first = wait_for(lambda: row(database, fid)["heartbeat_at"])
        wait_for(lambda: row(database, fid)["heartbeat_at"] > first, 10)
    finally:
        over.set()
        talking.join()
    assert client.flush(60)


# The ends of processes.


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_ends_in_an_outage_leaves_a_file_that_is_delivered_once(
    line: Line, tmp_path: Path, database: str, fid: str, end: str
) -> None:
    line.cut()
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    code = f"""
for i in range(500):
    say(sys.argv[1], str(i))
    if i % 100 == 99:
        assert client.flush(0.1) is False
{end}
"""
    with script(code, settings, fid) as process:
        assert process.wait(30) in (3, -signal.SIGKILL)
    (file,) = spill_files(settings)
    content = file.read_bytes()
    assert deliver_orphans(settings, database)[str(file)] == content.count(b"\n")
    assert payloads(database, fid) == [str(i) for i in range(500)]
    assert spill_files(settings) == []
    file.write_bytes(content)  # as if the replaying process had died before it removed the file
    deliver_orphans(settings, database)
    assert payloads(database, fid) == [str(i) for i in range(500)]


def test_a_process_that_just_ends_delivers_everything_first(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    with script("for i in range(5000): say(sys.argv[1], str(i))", settings, fid) as process:
        assert process.wait(30) == 0
    assert payloads(database, fid) == [str(i) for i in range(5000)]
    assert spill_files(settings) == []


def test_what_many_threads_drop_is_counted_exactly(
    make: Callable[..., SpoolClient], fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, threads, each = make(), 4, 5000
    monkeypatch.setattr(client_module, "LARGE", 0)  # all of it is looked at
    monkeypatch.setattr(client, "_is_flooded", lambda *_: True)
    dropping = [
        threading.Thread(
            target=lambda: [client.emit(fid, said("x", Kind.STDOUT)) for _ in range(each)]
        )
        for _ in range(threads)
    ]
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    counted = 0
    try:
        for thread in dropping:
            thread.start()
        going = True
        while going:
            going = any(thread.is_alive() for thread in dropping)
            for batch in client._freeze([]):
                counted += sum(
                    json.loads(str(Event(*event).source))["missing"] for event in batch.events
                )
    finally:
        sys.setswitchinterval(often)
    assert counted == threads * each


def test_what_was_emitted_a_moment_before_a_kill_is_stored(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    code = """
say(sys.argv[1], "0")
assert client.flush(10)
for i in range(1, 100):
    say(sys.argv[1], str(i))
signal.pause()
"""
    with script(code, settings, fid) as process:
        # Nothing but its own thread sends it on its way.
        wait_for(lambda: len(payloads(database, fid)) == 100)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    assert payloads(database, fid) == [str(i) for i in range(100)]


def test_what_waits_for_a_late_answer_survives_a_kill(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    code = """
say(sys.argv[1], "0")
assert client.flush(10)
print("connected", flush=True)
sys.stdin.readline()
say(sys.argv[1], "1")
while client._asked_at is None or not client._undelivered.queue:
    time.sleep(0.001)
for word in "234":
    say(sys.argv[1], word)
sys.stdin.readline()
"""
    with script(code, settings, fid) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        with slow_table(database):
            process.stdin.write("\n")
            process.stdin.flush()
            # Long before the 10 s after which it counts as an outage.
            wait_for(lambda: words_on_disk(settings) == ["1", "2", "3", "4"], 6)
            process.kill()
            assert process.wait(30) == -signal.SIGKILL
    deliver_orphans(settings, database)
    assert payloads(database, fid) == ["0", "1", "2", "3", "4"]
    assert spill_files(settings) == []


def test_an_answer_that_comes_late_leaves_no_file_behind(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make()
    client.emit(fid, said("0"))
    assert client.flush(10)
    for number in (1, 2):
        with slow_table(database):
            client.emit(fid, said(str(number)))
            wait_for(lambda number=number: words_on_disk(client.settings) == [str(number)], 6)
            assert client.connected
        assert client.flush(10)
        assert spill_files(client.settings) == []
    assert payloads(database, fid) == ["0", "1", "2"]


def test_a_flush_that_gives_up_on_a_late_answer_has_everything_on_disk(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make()
    client.emit(fid, said("0"))
    assert client.flush(10)
    with slow_table(database):
        for number in range(1, 5001):
            client.emit(fid, said(str(number)))
        assert client.flush(0.3) is False
        assert words_on_disk(client.settings) == [str(number) for number in range(1, 5001)]
    assert client.flush(20)
    assert spill_files(client.settings) == []
    assert payloads(database, fid) == [str(number) for number in range(5001)]


def test_the_next_process_delivers_what_the_last_one_left(
    make: Callable[..., SpoolClient], line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    line.cut()
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    code = "say(sys.argv[1], 'left'); client.flush(0.1); os._exit(0)"
    with script(code, settings, fid) as process:
        assert process.wait(30) == 0
    assert len(spill_files(settings)) == 1
    line.restore()
    client = make()
    client.emit(fresh(), said("something"))
    wait_for(lambda: spill_files(settings) == [])
    assert payloads(database, fid) == ["left"]


def test_a_long_file_left_behind_does_not_hold_up_the_living(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    old, writer = fresh(), fresh()
    client = make()
    left = spill.Spill(spill.folder(client.settings) / f"{writer}{spill.SUFFIX}")
    for number in range(1, 1201):
        left.append([batch(old, said(str(number)), writer=writer, number=number)])
    left.abandon()
    client.emit(fid, said("0"))
    assert client.flush(5)
    wait_for(lambda: payloads(database, old))
    for i in range(1, 6):
        client.emit(fid, said(str(i)))
        assert client.flush(1.0), "the replay held the living up"
    assert len(payloads(database, old)) < 1200, "the replay was over before it could be in the way"
    wait_for(lambda: spill_files(client.settings) == [], 60)
    assert payloads(database, old) == [str(number) for number in range(1, 1201)]


def test_the_file_of_a_living_process_is_not_touched(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    client = make()
    line.cut()
    client.emit(fid, said("1"))
    wait_for(lambda: spilled(client))
    before = [file.read_bytes() for file in spill_files(client.settings)]
    assert deliver_orphans(client.settings, database) == {}
    assert [file.read_bytes() for file in spill_files(client.settings)] == before != []
    line.restore()
    wait_for(lambda: client.connected)
    assert client.flush(10)
    assert payloads(database, fid) == ["1"]


def test_a_closed_client_starts_anew_with_the_next_event(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    client = make(flush_timeout=1.0)
    client.emit(fid, said("1"))
    client.close()
    wait_for(lambda: line.connections == 0)
    assert payloads(database, fid) == ["1"]
    client.emit(fid, said("2"))
    assert client.flush(10)
    line.cut()
    client.emit(fid, said("3"))
    client.close()
    assert client.flush(0) is False
    line.restore()
    client.emit(fid, said("4"))
    wait_for(lambda: not client.undelivered)
    assert client.flush(10)
    assert payloads(database, fid) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("outage", [False, True], ids=["connected", "in an outage"])
def test_after_a_fork_both_processes_deliver_and_nothing_comes_twice(
    line: Line, tmp_path: Path, database: str, fid: str, outage: bool
) -> None:
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    if outage:
        line.cut()
    code = f"""
say(sys.argv[1], "before 0")
assert client.flush({0.2 if outage else 10}) is {not outage}
for i in range(1, 200):
    say(sys.argv[1], f"before {{i}}")
child = os.fork()
name = "parent" if child else "child"
for i in range(200):
    say(sys.argv[1], f"{{name}} {{i}}")
print(name, flush=True)
if not child:
    client.close()
    os._exit(0)
client.flush(20)
assert os.waitpid(child, 0)[1] == 0
"""
    with script(code, settings, fid) as process:
        assert process.stdout is not None
        told = {process.stdout.readline(), process.stdout.readline()}
        assert told == {"parent\n", "child\n"}
        if outage:
            line.restore()
        assert process.wait(40) == 0, process.stderr and process.stderr.read()
    deliver_orphans(settings, database)
    texts = payloads(database, fid)
    assert len(texts) == 600
    for name in ("before", "parent", "child"):
        assert [t for t in texts if t.startswith(name)] == [f"{name} {i}" for i in range(200)]


def test_a_forked_child_does_not_keep_its_dead_parents_file_locked(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    line.cut()
    settings = Settings(database_url=SecretStr(line.url), data_dir=tmp_path)
    code = """
say(sys.argv[1], "of the parent")
assert client.flush(0.2) is False
if os.fork():
    os._exit(0)
print("forked", flush=True)
sys.stdin.readline()
os._exit(0)
"""
    with script(code, settings, fid) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        assert process.wait(30) == 0
        deliver_orphans(settings, database)
        assert payloads(database, fid) == ["of the parent"]
        process.stdin.write("\n")


def test_only_output_may_be_dropped() -> None:
    events = [said("x", kind) for kind in Kind]
    (thinned,) = undelivered.thin([batch(fresh(), *events)])
    assert [e.kind for e in thinned.events] == [
        *(kind for kind in Kind if kind not in DROPPABLE_KINDS),
        Kind.STDERR,
    ]


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
    wait_for(lambda: len(client._freezing._numbers) <= 3, 5, "the client to forget")
    assert set(client._freezing.headers) == {fids[0]}
