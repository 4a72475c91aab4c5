"""Flows and tasks for Ray."""

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect import task

import kodosumi_prefect
from kodosumi_prefect import Tracer, flow


@task
def square(number: int) -> int:
    print(f"squaring {number}")
    return number * number


@task
def add(left: int, right: int) -> int:
    return left + right


@task
async def square_async(number: int) -> int:
    print(f"squaring {number}")
    return number * number


@task
def burst() -> None:
    raise ValueError("burst")


@task
def whisper(tracer: Tracer, word: str) -> None:
    """Says the same by the tracer it was handed, by the current one, and by print."""
    tracer.debug(f"handed {word}")
    kodosumi_prefect.tracer.debug(f"current {word}")
    print(f"printed {word}")


def _threads(word: str) -> None:
    """Says the same from a thread, from a pool, and from a child process."""

    def speak(where: str) -> None:
        print(f"{where} prints {word}")
        logging.getLogger("author").warning(f"{where} logs {word}")
        kodosumi_prefect.tracer.debug(f"{where} traces {word}")

    thread = threading.Thread(target=speak, args=("thread",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(speak, "pool").result()


@task
def threads(word: str) -> None:
    _threads(word)


@task
async def threads_of_async(word: str) -> None:
    await asyncio.to_thread(_threads, word)


@task
def dawdle(marker: str, seconds: float = 120) -> None:
    """Makes the file ``marker``, then works until it is ended."""
    Path(marker).touch()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)
        Path(marker).touch()


@flow
def squares(numbers: list[int]) -> int:
    return sum(square.map(numbers).result())


@flow
def waits(marker: str) -> None:
    print("submitting")
    dawdle.submit(marker).result()


@flow
def talks(inputs: dict[str, Any], tracer: Tracer) -> None:
    tracer.debug("before")
    whisper.submit(tracer, inputs["word"]).result()
    tracer.debug("after")
