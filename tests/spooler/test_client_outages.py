"""The spool client while its database is away, hangs, comes late or was restored."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kodosumi_prefect.database import connection as connection_module
from kodosumi_prefect.settings import write_address
from kodosumi_prefect.spooler.client import SpoolClient
from tests.spooler.clients import (
    both_ways,
    deliver_orphans,
    everywhere,
    script,
    spill_files,
    spilled,
)
from tests.spooler.recording import (
    Line,
    execute,
    payloads,
    said,
    stored,
)
from tests.waiting import wait_for


@everywhere
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


@everywhere
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


@both_ways
def test_events_survive_a_process_that_ends_while_the_database_hangs(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = line.settings(tmp_path, fid, flush_timeout=0.5)
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


@both_ways
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


@both_ways
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


@both_ways
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


@both_ways
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


@both_ways
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
