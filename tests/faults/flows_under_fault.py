"""Flows that the tests of this folder run.

Each writes a protocol of its own into the file ``notes``: who runs where, what was said when. A
line that is written there stays, whatever happens to the process.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import prefect
import ray
from prefect import task
from prefect.flow_runs import pause_flow_run, suspend_flow_run

from kodosumi_prefect import KodosumiError, Tracer, flow

STEP = 0.02  # seconds between two ticks
LONG = 120.0  # seconds; whoever ticks so long is to be ended


def note(notes: str, line: str) -> None:
    with Path(notes).open("a") as file:
        file.write(f"{line}\n")


def begin(notes: str, who: str) -> None:
    note(notes, f"began {who}")
    note(notes, f"pid {who} {os.getpid()}")


def tick(notes: str, who: str, tracer: Tracer, seconds: float = LONG) -> str:
    """Say something all the time."""
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        tracer.debug(f"tick {who} {number}")
        note(notes, f"tick {who} {number} @ {time.time():.6f}")
        number += 1
        time.sleep(STEP)
    return who


def await_word(notes: str, word: str) -> None:
    """Wait until the test says something."""
    while f"said {word}\n" not in Path(notes).read_text():
        time.sleep(STEP)


def cancelled(flow: Any, flow_run: Any, state: Any) -> None:
    note(flow_run.parameters["notes"], "hook cancelled")


@task
def ticking_task(notes: str, who: str, tracer: Tracer, seconds: float = LONG) -> str:
    begin(notes, who)
    return tick(notes, who, tracer, seconds)


def left_content(who: str, number: int) -> list[bytes]:
    """The pieces of a file that ``leave`` leaves; a bucket takes it in two parts."""
    return [f"{who} {number} {at}".encode().ljust(64) * 2**14 for at in range(10)]


def leave(notes: str, who: str, tracer: Tracer) -> str:
    """Leave one file after the other, until the test says something."""

    def pieces(number: int) -> Generator[bytes, None, None]:
        for at, piece in enumerate(left_content(who, number)):
            if at == 9:
                note(notes, f"writing {who} {number}")
            time.sleep(2 * STEP)
            yield piece

    begin(notes, who)
    number = 0
    with tracer.fs_sync() as fs:
        while "said stop\n" not in Path(notes).read_text():
            try:
                fs.put(f"{who}-{number}", pieces(number))
            except KodosumiError as exc:
                note(notes, f"refused {who} {number} {exc}")
                continue
            note(notes, f"left {who} {number} @ {time.time():.6f}")
            number += 1
    return who


@task
def leaving_task(notes: str, tracer: Tracer) -> str:
    return leave(notes, "task", tracer)


@ray.remote(num_cpus=0, max_retries=0)
def leaving_native(notes: str, tracer: Tracer) -> str:
    return leave(notes, "native", tracer)


@flow
def leaving(notes: str, who: str, tracer: Tracer) -> str:
    """Leaves files: itself, by a task, or by a Ray function."""
    from prefect_ray.context import remote_options

    if who == "flow":
        return leave(notes, who, tracer)
    if who == "native":
        return ray.get(leaving_native.remote(notes, tracer))
    with remote_options(max_retries=0, num_cpus=0):
        return leaving_task.submit(notes, tracer).result()


@task
def silent_task(notes: str, who: str) -> str:
    begin(notes, who)
    time.sleep(LONG)
    return who


@ray.remote(num_cpus=0, max_retries=0)
def ticking_native(notes: str, who: str, tracer: Tracer, seconds: float = LONG) -> str:
    begin(notes, who)
    return tick(notes, who, tracer, seconds)


@ray.remote(num_cpus=0)
def stubborn_native(notes: str) -> None:
    begin(notes, "native")
    while True:
        try:
            time.sleep(LONG)
        except BaseException:
            note(notes, "ignored")


@flow(on_cancellation=[cancelled])
def ticking(notes: str, tracer: Tracer, seconds: float = LONG) -> str:
    begin(notes, "flow")
    return tick(notes, "flow", tracer, seconds)


@flow
def until_told(notes: str, tracer: Tracer) -> str:
    """Says something, waits for a word of the test, and works on Ray afterwards."""
    begin(notes, "flow")
    tracer.debug("tick flow 0")
    await_word(notes, "go")
    told = ticking_task.with_options(name="late").submit(notes, "late-task", tracer, 0.2).result()
    native = ray.get(ticking_native.remote(notes, "late-native", tracer, 0.2))
    note(notes, "ended flow")
    return f"{told} and {native}"


@flow(on_cancellation=[cancelled])
def with_task(notes: str, tracer: Tracer, options: dict[str, Any] | None = None) -> str:
    from prefect_ray.context import remote_options

    begin(notes, "flow")
    with remote_options(max_retries=0, **(options or {})):
        future = ticking_task.submit(notes, "task", tracer)
    return future.result()


@flow
def with_native(notes: str, tracer: Tracer, options: dict[str, Any] | None = None) -> str:
    begin(notes, "flow")
    return ray.get(ticking_native.options(**(options or {})).remote(notes, "native", tracer))


@flow
def with_many(notes: str, count: int, tracer: Tracer) -> int:
    begin(notes, "flow")
    names = [f"task{number}" for number in range(count)]
    futures = [ticking_task.submit(notes, name, tracer, 0.2) for name in names]
    return len([future.result() for future in futures])


@flow(on_cancellation=[cancelled])
def sleeping(notes: str) -> None:
    begin(notes, "flow")
    time.sleep(LONG)


@flow(on_cancellation=[cancelled])
def computing(notes: str) -> int:
    begin(notes, "flow")
    number = 0
    while True:
        number += 1


@flow(on_cancellation=[cancelled])
def awaiting_task(notes: str) -> str:
    begin(notes, "flow")
    return silent_task.submit(notes, "task").result()


@flow(on_cancellation=[cancelled])
def awaiting_native(notes: str) -> None:
    begin(notes, "flow")
    ray.get(stubborn_native.remote(notes))


@flow(on_cancellation=[cancelled])
def stubborn(notes: str) -> None:
    begin(notes, "flow")
    while True:
        try:
            time.sleep(LONG)
        except BaseException:
            note(notes, "ignored")


@flow(timeout_seconds=1)
def slow(notes: str) -> None:
    begin(notes, "flow")
    time.sleep(LONG)


@flow(timeout_seconds=1)
async def slow_async(notes: str) -> None:
    begin(notes, "flow")
    await asyncio.sleep(LONG)


@flow(timeout_seconds=2)
def slow_on_ray(notes: str) -> str:
    begin(notes, "flow")
    return silent_task.submit(notes, "task").result()


@flow
def pausing(notes: str, tracer: Tracer) -> str:
    begin(notes, "flow")
    tracer.debug("before")
    pause_flow_run(timeout=60, poll_interval=1)
    tracer.debug("after")
    return "resumed"


@flow(persist_result=True)
def suspending(notes: str, tracer: Tracer) -> str:
    begin(notes, "flow")
    tracer.debug("before")
    suspend_flow_run(timeout=60)
    tracer.debug("after")
    return "resumed"


@flow(retries=2)
def retrying(notes: str, tracer: Tracer) -> int:
    begin(notes, "flow")
    tracer.debug("trying")
    tries = Path(notes).read_text().count("began")
    if tries < 3:
        raise ValueError(f"not at try {tries}")
    return tries


@flow
async def gentle(notes: str, tracer: Tracer) -> str:
    begin(notes, "flow")
    tracer.debug("asynchronous")
    await asyncio.sleep(STEP)
    return "done"


@flow
def generating(notes: str, tracer: Tracer) -> Generator[int, None, None]:
    begin(notes, "flow")
    for number in range(3):
        tracer.debug(f"yields {number}")
        yield number


@flow
async def generating_async(notes: str, tracer: Tracer) -> AsyncGenerator[int, None]:
    begin(notes, "flow")
    for number in range(3):
        tracer.debug(f"yields {number}")
        yield number


@flow
def inner(word: str, tracer: Tracer) -> str:
    tracer.debug(f"inner {word}")
    return word


@prefect.flow
def plain_inner(word: str) -> str:
    print(f"plain {word}")
    return word


@flow
def outer(notes: str, tracer: Tracer) -> str:
    begin(notes, "flow")
    tracer.debug("outer")
    return inner("one") + plain_inner("two")


@flow(persist_result=True)
def not_persisted(notes: str) -> Any:
    begin(notes, "flow")
    return threading.Lock()


@task
def locking() -> Any:
    return threading.Lock()


@flow
def unpicklable(notes: str) -> Any:
    begin(notes, "flow")
    return locking.submit().result()


@flow
def measuring(notes: str, text: str) -> int:
    begin(notes, "flow")
    return len(text)


@flow
def environment(notes: str, names: list[str]) -> dict[str, Any]:
    begin(notes, "flow")
    return {name: os.environ.get(name) for name in names}
