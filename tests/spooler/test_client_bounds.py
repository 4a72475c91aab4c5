"""The bounds of a spool client: memory, its file, what is dropped first, and that it is counted."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect.database import connection as connection_module
from kodosumi_prefect.events import DROPPABLE_KINDS, Event, Kind
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import client as client_module
from kodosumi_prefect.spooler import inbox, undelivered
from kodosumi_prefect.spooler.client import SpoolClient
from tests.spooler.clients import MEBIBYTE, script, spill_files, spilled
from tests.spooler.recording import (
    Line,
    batch,
    fresh,
    said,
    stored,
)
from tests.waiting import wait_for


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
    assert client._delivery.undelivered.queue
    assert client._delivery.undelivered.spill
    (file,) = spill_files(client.settings)
    wait_for(lambda: file.read_bytes().endswith(b"\n"), what="a whole delivery at the end")
    line.restore()
    assert client.flush(20) or client.flush(20)
    check_bounded(database, fid, 10_000)
    assert client._delivery.undelivered.bytes == 0


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
    for module in (client_module, inbox):
        monkeypatch.setattr(module, "INBOX_SOFT", 1000)
    monkeypatch.setattr(inbox, "INBOX_HARD", 1200)
    monkeypatch.setitem(connection_module.CONNECTION_DEFAULTS, "connect_timeout", 3)
    client = make()
    monkeypatch.setattr(client._delivery, "_gather", lambda: None)  # both threads are stuck
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
        wait_for(lambda: client.undelivered == 0)
        assert not client._delivery.undelivered.spill, i
    assert client.flush(20)
    assert client._delivery.undelivered.bytes == 0


def test_what_many_threads_drop_is_counted_exactly(
    make: Callable[..., SpoolClient], fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, threads, each = make(), 4, 5000
    monkeypatch.setattr(client_module, "LARGE", 0)  # all of it is looked at
    monkeypatch.setattr(client._inbox, "is_flooded", lambda *_: True)
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
            for batch in client._delivery._freeze([]):
                counted += sum(
                    json.loads(str(Event(*event).source))["missing"] for event in batch.events
                )
    finally:
        sys.setswitchinterval(often)
    assert counted == threads * each


def test_only_output_may_be_dropped() -> None:
    events = [said("x", kind) for kind in Kind]
    (thinned,) = undelivered.thin([batch(fresh(), *events)])
    assert [e.kind for e in thinned.events] == [
        *(kind for kind in Kind if kind not in DROPPABLE_KINDS),
        Kind.STDERR,
    ]
