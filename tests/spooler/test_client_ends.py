"""The ends of processes that emit: killed, forked, closed, and what the next one delivers."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.spooler.replay import replay_orphans
from tests.spooler.clients import both_ways, deliver_orphans, script, spill_files, spilled
from tests.spooler.recording import (
    Line,
    batch,
    fresh,
    payloads,
    said,
    slow_table,
    words_on_disk,
)
from tests.waiting import wait_for

BACKLOG = 20_000  # events of a long outage


@both_ways
@pytest.mark.parametrize(
    ("end", "events"), [("os._exit(3)", 500), ("os.kill(os.getpid(), 9)", BACKLOG)]
)
def test_a_process_that_ends_in_an_outage_leaves_a_file_that_is_delivered_once(
    line: Line, tmp_path: Path, database: str, fid: str, end: str, events: int
) -> None:
    line.cut()
    settings = line.settings(tmp_path, fid)
    code = f"""
for i in range({events}):
    say(sys.argv[1], str(i))
    if i % 1000 == 499:
        assert client.flush(0.1) is False
client.flush(0.1)
{end}
"""
    with script(code, settings, fid) as process:
        assert process.wait(60) in (3, -signal.SIGKILL)
    (file,) = spill_files(settings)
    content = file.read_bytes()
    line.restore()
    transport = line.transport(settings)
    assert replay_orphans(settings, transport)[str(file)] == content.count(b"\n")
    assert payloads(database, fid) == [str(i) for i in range(events)]
    assert spill_files(settings) == []
    file.write_bytes(content)  # as if the replaying process had died before it removed the file
    replay_orphans(settings, transport)
    transport.close()
    assert payloads(database, fid) == [str(i) for i in range(events)]


@both_ways
def test_a_process_that_just_ends_delivers_everything_first(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = line.settings(tmp_path, fid)
    with script("for i in range(5000): say(sys.argv[1], str(i))", settings, fid) as process:
        assert process.wait(30) == 0
    assert payloads(database, fid) == [str(i) for i in range(5000)]
    assert spill_files(settings) == []


@both_ways
def test_what_was_emitted_a_moment_before_a_kill_is_stored(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = line.settings(tmp_path, fid)
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


@both_ways
def test_what_waits_for_a_late_answer_survives_a_kill(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = line.settings(tmp_path, fid)
    code = """
say(sys.argv[1], "0")
assert client.flush(10)
print("connected", flush=True)
sys.stdin.readline()
say(sys.argv[1], "1")
while client._delivery.turn.asked_at is None or not client._delivery.undelivered.queue:
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


@both_ways
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


@both_ways
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
    settings = line.settings(tmp_path, fid)
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
    for number in range(1, 20_001):
        left.append([batch(old, said(str(number)), writer=writer, number=number)])
    left.abandon()
    client.emit(fid, said("0"))
    assert client.flush(5)
    wait_for(lambda: payloads(database, old))
    for i in range(1, 6):
        client.emit(fid, said(str(i)))
        assert client.flush(1.0), "the replay held the living up"
    assert len(payloads(database, old)) < 20_000, (
        "the replay was over before it could be in the way"
    )
    wait_for(lambda: spill_files(client.settings) == [], 60)
    assert payloads(database, old) == [str(number) for number in range(1, 20_001)]


@both_ways
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


@both_ways
@pytest.mark.parametrize("outage", [False, True], ids=["connected", "in an outage"])
def test_after_a_fork_both_processes_deliver_and_nothing_comes_twice(
    line: Line, tmp_path: Path, database: str, fid: str, outage: bool
) -> None:
    settings = line.settings(tmp_path, fid)
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
os.write(1, f"{{name}}\\n".encode())  # at once: of two processes, lines would mingle
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


@both_ways
def test_a_forked_child_does_not_keep_its_dead_parents_file_locked(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    line.cut()
    settings = line.settings(tmp_path, fid)
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
