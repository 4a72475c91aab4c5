"""Blocking calls that do not hold up the end of their process."""

import asyncio
import subprocess
import sys
from contextvars import ContextVar

import pytest

from kodosumi_prefect.runner.aside import aside

place: ContextVar[str] = ContextVar("place", default="nowhere")

ENDS = """
import asyncio, time
from kodosumi_prefect.runner.aside import aside

async def main():
    call = asyncio.create_task(aside(time.sleep, 120))
    await asyncio.sleep(0.1)
    call.cancel()
    print("ends", flush=True)

asyncio.run(main())
"""


async def test_a_call_gives_its_result_in_the_caller_s_context():
    place.set("here")
    assert await aside(lambda suffix: place.get() + suffix, "!") == "here!"


async def test_a_call_raises_what_it_raised():
    def refuse() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await aside(refuse)


def test_a_process_ends_though_a_call_hangs():
    done = subprocess.run(
        [sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ends\n"
    assert "Exception" not in done.stderr


async def test_a_cancelled_call_that_ends_later_disturbs_nobody():
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    complaints: list[object] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    def slow() -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    call = asyncio.create_task(aside(slow))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    assert await aside(lambda: "later") == "later"
    assert complaints == []
