"""Having processes work on runs, and be killed at a step of that."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.services import TESTS, Place
from tests.suspension.conftest import Legs

Kill = Callable[[str, str, Legs], None]


@contextmanager
def killing(place: Place) -> Iterator[Kill]:
    """What has a process do some work of ``killed.WORK`` on a run, and be killed at a step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.suspension.killed"],
        env=place.environment(),
        cwd=TESTS.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def kill(what: str, step: str, run: Legs) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps({"what": what, "step": step, "fid": run.fid}), file=process.stdin)
        process.stdin.flush()
        for line in process.stdout:
            if line.strip().lstrip("-").isdecimal():
                assert int(line) == -signal.SIGKILL
                return
        raise AssertionError("the process that starts others ended")

    with process:
        yield kill
        assert process.stdin is not None
        process.stdin.close()
