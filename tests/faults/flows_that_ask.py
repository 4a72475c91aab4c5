"""Flows that ask people, and note in a file of their own what each of their processes does."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import prefect

from kodosumi_prefect import Tracer, flow, tracer
from kodosumi_prefect.suspension import ending


def note(notes: str, line: str) -> None:
    with Path(notes).open("a") as file:
        file.write(f"{line}\n")


def cancelled(flow: Any, flow_run: Any, state: Any) -> None:
    note(flow_run.parameters["notes"], f"hook {state.name}")


HOOKS: dict[str, Any] = {
    "on_cancellation": [cancelled],
    "on_failure": [cancelled],
    "on_crashed": [cancelled],
}


@flow(**HOOKS)
def dies_while_suspending(notes: str, step: str, tracer: Tracer) -> Any:
    """Its first process is killed at a step of its suspension."""
    note(notes, f"pid flow {os.getpid()}")
    if len(Path(notes).read_text().split("pid flow")) == 2:
        setattr(ending, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    return tracer.lock_sync("approve", suspend=True)["n"]


@flow(retries=1, **HOOKS)
def asks_twice(notes: str, suspend: float, tracer: Tracer) -> list[Any]:
    """Two questions; each leg notes its process and when its next line came."""
    note(notes, f"pid flow {os.getpid()}")
    answers = []
    for _ in range(2):
        try:
            answers.append(tracer.lock_sync("approve", suspend=suspend))
        finally:
            note(notes, f"left @ {time.time():.6f}")
        note(notes, f"answered {answers[-1]['n']} @ {time.time():.6f}")
    return [answer["n"] for answer in answers]


@flow(**HOOKS)
async def asks_at_once(notes: str, suspend: float, tracer: Tracer) -> list[Any]:
    """Two questions at once, in an async flow."""
    note(notes, f"pid flow {os.getpid()}")
    asked = [tracer.lock(name, suspend=suspend) for name in ("one", "two")]
    answers = await asyncio.gather(*asked)
    return [answer["n"] for answer in answers]


@flow(**HOOKS)
def asks_in_vain(notes: str, timeout: float, tracer: Tracer) -> str:
    """One question that nobody answers."""
    note(notes, f"pid flow {os.getpid()}")
    try:
        tracer.lock_sync("approve", timeout=timeout, suspend=True)
    except TimeoutError as exc:
        return str(exc)
    return "answered"


@prefect.flow
def asks_in_subflow(notes: str) -> Any:
    """A plain flow of Prefect's, whose subflow asks."""
    note(notes, f"pid flow {os.getpid()}")
    return below(notes)


@prefect.flow
def below(notes: str) -> Any:
    note(notes, "below")
    return tracer.lock_sync("approve", suspend=True)["n"]


@flow(retries=1, **HOOKS)
def asks_in_process(notes: str, fails: bool, tracer: Tracer) -> Any:
    """A question that is waited for in the process; the code behind it fails once, if it should."""
    note(notes, f"pid flow {os.getpid()}")
    answered = tracer.lock_sync("approve", suspend=False)
    if fails and len(Path(notes).read_text().split("pid flow")) == 2:
        raise ValueError("not this time")
    return answered["n"]
