"""One process of the stack: how it is started, when it counts as ready, and where it logs."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kodosumi_prefect.secret_variables import inherited_environment
from kodosumi_prefect.settings import private_folder
from kodosumi_prefect.stack.keeper import Record, start_of
from kodosumi_prefect.stack.log_files import trim_log

READY_INTERVAL = 0.1  # seconds between checks whether a child is ready
SHOWN_LINES = 15  # of a log, when a child fails
LOG = "; the end of "


class StackError(RuntimeError):
    """The stack cannot run; the message names the part and the way out."""


class LastingError(StackError):
    """A part of the stack cannot be started again, and will not recover by itself; one line."""


@dataclass(frozen=True)
class Child:
    """A process that the stack runs and supervises.

    Example:
        ```python
        Child("panel", [sys.executable, "-m", "kodosumi_prefect.panel"], ready=answers)
        ```

    Arguments:
        name: names it in messages and its log, ``data_dir/logs/NAME.log``.
        argv: program and arguments; the program is run directly, without a shell.
        env: added to this process's environment, which comes without secrets of ours; None removes
            a variable.
        prepare: called before each start, the first and later ones.
        ready: asked every 0.1 s, in a thread; True once it serves. None: at once.
        timeout: seconds it has to become ready.
        cwd: folder it runs in, this process's if None.
        stop_signal: what asks it to end.
        grace: seconds it has for that before it is killed.
        ask_all: ask the leaders of sessions that its descendants made, too, and before itself.
        order: of several children, the one with the highest is ended first; 0 is Postgres.
        ports: on 127.0.0.1 that it needs when it is started again.
        remains: whether its own processes go on when it died, or are ended before its next start.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str | None] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    ready: Callable[[], bool] | None = None
    timeout: float = 60.0
    cwd: Path | None = None
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0
    ask_all: bool = False
    order: int = 3
    ports: Sequence[int] = ()
    remains: Literal["go on", "end"] = "go on"


class RunningChild:
    """A started child. It leads a session of its own, so that a terminal's Ctrl-C spares it."""

    def __init__(self, child: Child, log_dir: Path) -> None:
        self.child = child
        self.log_path = log_dir / f"{child.name}.log"
        environment = {**inherited_environment(), **child.env}
        try:
            if child.prepare is not None:
                child.prepare()
            private_folder(log_dir)
            if self.log_path.exists():
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
            with self.log_path.open("ab") as log:
                self.popen = subprocess.Popen(
                    child.argv,
                    env={name: value for name, value in environment.items() if value is not None},
                    cwd=child.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as exc:
            raise StackError(f"{child.name} cannot be started: {exc}") from exc
        self.record = Record(
            child.name,
            self.popen.pid,
            start_of(self.popen.pid) or "gone",
            child.stop_signal,
            child.grace,
            child.ask_all,
            child.order,
        )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.popen.poll()

    def trim_log(self) -> None:
        """Cut its log if it grew too long."""
        trim_log(self.log_path)

    async def until_ready(self) -> float:
        """Wait until it serves.

        Returns:
            Seconds that took.

        Raises:
            StackError: it ended or was not ready in time; with the last lines of its log.
        """
        began = time.monotonic()
        while True:
            if (code := self.exit_code) is not None:
                raise StackError(self.failure(f"ended with {code} before it was ready"))
            if self.child.ready is None or await asyncio.to_thread(self.child.ready):
                return time.monotonic() - began
            if time.monotonic() - began > self.child.timeout:
                raise StackError(self.failure(f"was not ready within {self.child.timeout:.0f} s"))
            await asyncio.sleep(READY_INTERVAL)

    def failure(self, what: str) -> str:
        """A message about this child with the last lines it logged."""
        lines = self.log_path.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        last_lines = "\n".join(f"  {line}" for line in lines)
        return f"{self.child.name} {what}{LOG}{self.log_path}:\n{last_lines}"


def brief(error: StackError) -> str:
    """What happened, in one line, without the end of the child's log."""
    return str(error).partition(LOG)[0].partition("\n")[0]
