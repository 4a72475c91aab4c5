"""Prefect's server process: its event loop never waits for what the garbage collector waits for."""

import inspect
import subprocess
import sys
import zoneinfo
from pathlib import Path

import pytest
from prefect.types import _datetime

from kodosumi_prefect.stack import prefect_process

pytestmark = pytest.mark.stack

# One connection holds the write lock, a thread waits for it on another, of which a failed cursor is
# garbage. The main thread makes objects until the collector has run, then lets the lock go.
SCRIPT = """
import gc, sqlite3, sys, threading, time
from kodosumi_prefect.stack.prefect_process import collect_aside

def connect():
    return sqlite3.connect(sys.argv[1], check_same_thread=False, isolation_level=None, timeout=8)

holder, other = connect(), connect()
holder.execute("PRAGMA journal_mode = WAL")
holder.execute("CREATE TABLE t (x UNIQUE)")
holder.execute("INSERT INTO t VALUES (1)")
gc.collect()
if sys.argv[2] == "aside":
    collect_aside()

class Cycle: pass
cycle = Cycle()
cycle.me, cycle.cursor = cycle, other.cursor()
try:
    cycle.cursor.execute("INSERT INTO t VALUES (1)")
except sqlite3.IntegrityError:
    pass

holder.execute("BEGIN IMMEDIATE")

def begin():
    begun.set()
    try:
        other.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as exc:
        print(f"thread: {exc}\\n", end="", flush=True)
    else:
        print("thread: begun\\n", end="", flush=True)

begun = threading.Event()
thread = threading.Thread(target=begin)
thread.start()
begun.wait()
time.sleep(1)
del cycle
end = time.monotonic() + 2
kept = []
while time.monotonic() < end:
    kept.append([])
    if len(kept) > 5000:
        kept.clear()
        time.sleep(0.01)
holder.execute("COMMIT")
print("main: committed\\n", end="", flush=True)
thread.join()
"""


@pytest.mark.parametrize(
    ("collector", "told"),
    [
        ("aside", ["main: committed", "thread: begun"]),
        # What happens without it; should this ever fail, the module is of no use any more.
        ("on the main thread", ["main: committed", "thread: database is locked"]),
    ],
)
def test_a_cursor_in_a_cycle_does_not_hold_up_who_has_the_write_lock(
    tmp_path: Path, collector: str, told: list[str]
) -> None:
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path / "some.db"), collector.split()[0]]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert sorted(answer.stdout.splitlines()) == told


def test_time_zones_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "available_timezones", zoneinfo.available_timezones)
    prefect_process.list_timezones_once()
    assert zoneinfo.available_timezones() is zoneinfo.available_timezones()
    assert "from zoneinfo import" in (source := inspect.getsource(_datetime))
    assert "tuple(available_timezones())" in source, "Prefect takes them from elsewhere"
