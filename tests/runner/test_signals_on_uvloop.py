"""Ray runs its processes on uvloop where it is installed; async flows can be cancelled there."""

import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, os, signal, threading
import uvloop

uvloop.install()
from kodosumi_prefect.runner.execute import let_signals_interrupt

class Told(BaseException):
    pass

def tell(*_):
    raise Told

let_signals_interrupt()
signal.signal(signal.SIGTERM, tell)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    asyncio.run(asyncio.sleep(5))
except Told:
    print("interrupted")
else:
    print("slept on")
"""


def test_a_signal_interrupts_an_async_flow_where_ray_installed_uvloop() -> None:
    pytest.importorskip("uvloop")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
