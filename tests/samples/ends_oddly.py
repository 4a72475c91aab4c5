"""Flows whose process ends in unusual ways, or looks at what it was given."""

import asyncio
import atexit
import ctypes
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

import kodosumi_prefect

LONG = 300.0  # seconds; whoever takes so long is to be ended


def note(notes: str, line: str) -> None:
    with Path(notes).open("a") as file:
        file.write(f"{line}\n")


def hook(flow: Any, flow_run: Any, state: Any) -> None:
    note(flow_run.parameters["notes"], f"hook {state.name} {os.getpid()}")


@flow(on_crashed=[hook])
def exits(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    print("last words")
    os._exit(7)


@flow(on_crashed=[hook])
def is_killed(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    os.kill(os.getpid(), signal.SIGKILL)


@flow(on_cancellation=[hook])
def ignores(notes: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(notes, f"pid {os.getpid()}")
    time.sleep(LONG)


@flow
def holds_everything(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    ctypes.PyDLL(None).sleep(int(LONG))  # no other thread of the process runs meanwhile


@flow
def waits_for_word(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    until = time.monotonic() + LONG
    while "go on" not in Path(notes).read_text() and time.monotonic() < until:
        time.sleep(0.05)


@flow
def ends_late(notes: str, seconds: float) -> None:
    def work() -> None:
        threading.Event().wait(seconds)
        note(notes, "thread ended")

    atexit.register(note, notes, "atexit called")
    threading.Thread(target=work, name="lingering").start()


@task
def naps(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    threading.Event().wait(LONG)


@flow(task_runner=ThreadPoolTaskRunner(), on_cancellation=[hook])
def waits_for_a_thread(notes: str) -> None:
    naps.submit(notes).result()


class SleepsAtItsEnd:
    def __del__(self) -> None:
        time.sleep(LONG)  # Python ignores what is raised here


@flow(on_cancellation=[hook])
def loses_signals(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    SleepsAtItsEnd()
    note(notes, "lost")
    time.sleep(LONG)


@flow(on_cancellation=[hook])
async def loses_signals_async(notes: str) -> None:
    loses_signals.fn(notes)


@kodosumi_prefect.flow(on_cancellation=[hook])
def fails_by_signals(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    try:
        time.sleep(LONG)
    except BaseException:
        raise ValueError("half imported") from None


@kodosumi_prefect.flow(on_cancellation=[hook])
async def fails_by_signals_async(notes: str) -> None:
    fails_by_signals.fn(notes)


@flow(on_cancellation=[hook])
def exits_by_signals(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    try:
        time.sleep(LONG)
    except BaseException:
        raise SystemExit(15) from None


@flow(on_cancellation=[hook])
def takes_time_to_end(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    try:
        time.sleep(LONG)
    finally:
        time.sleep(2.5)
        note(notes, "cleaned up")


@flow(on_cancellation=[hook])
async def takes_time_to_end_async(notes: str) -> None:
    note(notes, f"pid {os.getpid()}")
    try:
        time.sleep(LONG)  # noqa: ASYNC251  (the signal comes in the flow's own code)
    finally:
        await asyncio.sleep(2.5)
        note(notes, "cleaned up")


SECRETS: list[str] = []


@flow
def looks_around(secret: str) -> dict[str, Any]:
    """What this process has of its own, and what an earlier one may have left."""
    before = list(SECRETS)
    SECRETS.append(secret)
    os.environ["LEFT_BY_A_RUN"] = secret
    Path("left").write_text(secret)
    open("left")  # noqa: SIM115, PTH123  (left open on purpose)
    return {
        "pid": os.getpid(),
        "folder": str(Path.cwd()),
        "files": [entry.name for entry in Path.cwd().iterdir()],
        "secrets": before,
        "variables": {
            name: os.environ.get(name) for name in ("LEFT_BY_A_RUN", "OF_THIS_RUN", "TZ")
        },
        "zone": time.tzname[0],
        "optimize": __debug__,
        "descriptors": sorted(
            str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()
        ),
        "group": os.getpgid(0) == os.getpid(),
    }
