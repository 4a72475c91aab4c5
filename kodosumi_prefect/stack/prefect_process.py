"""Prefect's command line in a process whose event loop collects no garbage and lists no time zones.

Run as ``python -m kodosumi_prefect.stack.prefect_process server start …``.

Without it a Prefect server on SQLite stands still for a minute now and then; seen with Prefect 3.8,
SQLAlchemy 2.0 and aiosqlite 0.21 by looking at its threads. A statement that fails, such as an
insert of what is there already, leaves its cursor in a reference cycle with the exception. Whoever
collects that cursor resets its statement, for which it needs the mutex of its connection. A thread
that waits on this connection in ``BEGIN IMMEDIATE`` for SQLite's write lock holds the mutex, and
who holds the write lock waits for the event loop. If the event loop's own thread is the one to
collect, all wait for each other until SQLite's busy timeout of 60 seconds is over.
"""

import gc
import runpy
import sys
import threading
import time
import zoneinfo
from functools import cache

PAUSE = 0.2  # seconds between two looks
YOUNG = 700  # objects made since the last collection, as CPython's own threshold
MIDDLE = 10  # collections of the youngest before one of the next generation, likewise
WHOLE = 60.0  # seconds between two collections of everything


def list_timezones_once() -> None:
    """From now on time zones are looked for once; those that are installed later are not found."""
    zoneinfo.available_timezones = cache(zoneinfo.available_timezones)


def collect_aside() -> threading.Thread:
    """From now on garbage in cycles is collected in a thread of its own, until the process ends."""
    gc.disable()
    thread = threading.Thread(target=_collect, name="garbage", daemon=True)
    thread.start()
    return thread


def _collect() -> None:
    whole = time.monotonic()
    while True:
        time.sleep(PAUSE)
        if time.monotonic() - whole > WHOLE:
            gc.collect()
            whole = time.monotonic()
        elif gc.get_count()[0] > YOUNG:
            gc.collect(1 if gc.get_count()[1] > MIDDLE else 0)


if __name__ == "__main__":
    list_timezones_once()
    collect_aside()
    sys.argv[0] = "prefect"
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
