"""Turns what the code of a run prints and logs into ``stdout``, ``stderr`` and ``debug`` events.

Everything still goes where it went before.
"""

import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import orjson
import prefect
from prefect.logging.configuration import ensure_logging_setup
from prefect.logging.loggers import print_as_log

from kodosumi_prefect.events import Event, Kind, plain
from kodosumi_prefect.spooler.client import THREAD_NAME, get_client
from kodosumi_prefect.tracer import Scope, known_scope, source_of

PARTIAL_MOST = 8192  # characters without a newline that are kept back
PRINT_DEPTH = 16  # frames looked through for Prefect's print_as_log
RUN_LOGGERS = frozenset({"prefect.flow_runs", "prefect.task_runs"})
# Loggers whose records are about recording or running, not about the author's work.
NOT_OURS = ("prefect", "psycopg", "kodosumi_prefect", "ray")
# Ray prints workers' output in the driver from threads of these names; the workers record it.
QUIET_THREADS = (THREAD_NAME, "ray_")

_PREFECT = str(Path(prefect.__file__).parent)
_LOGGING = logging.__file__

# Ways to find whose output it is in threads and calls that Prefect's context does not reach.
owners: list[Callable[[], Scope | None]] = []


def owner() -> Scope | None:
    """The execution that the calling thread's output belongs to, or None."""
    if threading.current_thread().name.startswith(QUIET_THREADS):
        return None
    if (scope := known_scope()) is not None:
        return scope
    for find in owners:
        if (scope := find()) is not None:
            return scope
    return None


class _Stream(io.TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr``: passes on, and records for the owner."""

    def __init__(self, stream: TextIO, kind: Kind) -> None:
        self._stream = stream
        self._kind = kind
        self._partial: dict[tuple[str, int], tuple[Scope, str]] = {}

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        if _is_logged_anyway(sys._getframe(1)):
            return written
        scope = owner()
        if scope is not None:
            self._record(scope, text)
        return written

    def finish(self, fid: str) -> None:
        """Record what was written without a newline at its end."""
        for key in list(self._partial):  # other threads go on writing meanwhile
            if key[0] == fid and (held := self._partial.pop(key, None)):
                scope, text = held
                _emit(scope, self._kind, text.rpartition("\r")[2])

    def _record(self, scope: Scope, text: str) -> None:
        key = (scope.fid, threading.get_ident())
        if held := self._partial.pop(key, None):
            text = held[1] + text
        whole, newline, rest = text.rpartition("\n")
        if newline:
            _emit(scope, self._kind, _without_overwritten(whole))
        # A progress bar rewrites its line; only what it says last is worth an event.
        rest = rest.rpartition("\r")[2] if "\r" in rest[:-1] else rest
        if len(rest) > PARTIAL_MOST:
            _emit(scope, self._kind, rest)
        elif rest:
            self._partial[key] = (scope, rest)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return self._stream.closed

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> Any:
        return self._stream.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    """Records what loggers propagate to the root."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = _kind_of(record)
        if kind is None:
            return
        scope = owner()
        if scope is None:
            return
        try:
            text = record.getMessage()
        except Exception as exc:  # arguments that do not fit their format
            text = f"{record.msg!r} with arguments that do not fit it: {exc}"
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}\n{_FORMATTER.formatException(record.exc_info)}"
        source = orjson.loads(source_of(scope))
        source |= {"level": record.levelname, "logger": record.name}
        _emit(scope, kind, text, orjson.dumps(source).decode())


_FORMATTER = logging.Formatter()
_lock = threading.Lock()
_holders = 0
_stdout: _Stream | None = None
_stderr: _Stream | None = None
_handler = _Handler()


def hold() -> None:
    """Capture until ``release`` was called as often."""
    global _holders, _stdout, _stderr
    with _lock:
        _holders += 1
        if _holders > 1 and sys.stdout is _stdout and sys.stderr is _stderr:
            return
        # Prefect's console handler must take the real stream, or it would record each line again.
        ensure_logging_setup()
        if not isinstance(sys.stdout, _Stream):
            sys.stdout = _stdout = _Stream(sys.stdout, Kind.STDOUT)
        if not isinstance(sys.stderr, _Stream):
            sys.stderr = _stderr = _Stream(sys.stderr, Kind.STDERR)
        root = logging.getLogger()
        if _handler not in root.handlers:
            root.addHandler(_handler)


def release(fid: str) -> None:
    """Stop capturing for one holder; what an execution wrote without a newline is recorded."""
    global _holders
    for stream in (_stdout, _stderr):
        if stream is not None:
            stream.finish(fid)
    with _lock:
        _holders -= 1
        if _holders:
            return
        logging.getLogger().removeHandler(_handler)
        if _stdout is not None and sys.stdout is _stdout:
            sys.stdout = _stdout._stream
        if _stderr is not None and sys.stderr is _stderr:
            sys.stderr = _stderr._stream


def finish(fid: str) -> None:
    """Record what an execution wrote without a newline so far, such as at the end of a task."""
    for stream in (_stdout, _stderr):
        if stream is not None:
            stream.finish(fid)


def _emit(scope: Scope, kind: Kind, text: str, source: str | None = None) -> None:
    if text:
        event = Event(time.time(), kind, plain(text), scope.attempt, source or source_of(scope))
        get_client().emit(scope.fid, event)


def _kind_of(record: logging.LogRecord) -> Kind | None:
    """What a log record becomes, or None if it is not the author's."""
    name = record.name
    if name in RUN_LOGGERS:
        if record.pathname.startswith(_PREFECT):
            return None  # the engine's own lines, such as "Finished in state …"
        return Kind.STDOUT if _was_printed() else Kind.DEBUG
    root, _, _ = name.partition(".")
    return None if root in NOT_OURS else Kind.DEBUG


def _was_printed() -> bool:
    """Whether Prefect's ``log_prints`` made this record of a ``print``."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(PRINT_DEPTH):
        if frame is None:
            return False
        if frame.f_code is print_as_log.__code__:
            return True
        frame = frame.f_back
    return False


def _is_logged_anyway(frame: FrameType) -> bool:
    """Whether this write is a log record's that is captured as such, or is none of the author's."""
    if frame.f_code.co_filename != _LOGGING:
        return False
    record = frame.f_locals.get("record")
    if isinstance(record, logging.LogRecord) and record.name.partition(".")[0] in NOT_OURS:
        return True
    return frame.f_locals.get("self") in logging.getLogger().handlers


def _without_overwritten(text: str) -> str:
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
