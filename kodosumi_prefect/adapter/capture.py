"""Turns what the code of a run prints and logs into ``stdout``, ``stderr`` and ``debug`` events.

Everything still goes where it went before.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOBase
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import orjson
import prefect
from prefect.logging.configuration import ensure_logging_setup

from kodosumi_prefect._compat.prefect import PRINT_AS_LOG
from kodosumi_prefect._compat.ray import DRIVER_THREADS
from kodosumi_prefect.adapter.last_words import LastWords
from kodosumi_prefect.adapter.redrawn import Lines
from kodosumi_prefect.adapter.text_sinks import Nowhere, ToDescriptor
from kodosumi_prefect.events import Event, Kind, plain
from kodosumi_prefect.scope import Scope, attach_adapters, event_source, known_scope
from kodosumi_prefect.spans.contents import kept_payload
from kodosumi_prefect.spooler.client import THREAD_NAME, get_client

LARGE_DELIVERY_SECONDS = 1.0  # seconds that a print waits which is too large for last words
PRINT_DEPTH = 16  # frames looked through for Prefect's print_as_log
RUN_LOGGERS = frozenset({"prefect.flow_runs", "prefect.task_runs"})
# Loggers whose records are about recording or running, not about the author's work.
NOT_OURS = ("prefect", "psycopg", "kodosumi_prefect", "ray")
# Ray prints workers' output in the driver from threads of these names; the workers record it.
QUIET_THREADS = (THREAD_NAME, DRIVER_THREADS)

_PREFECT = str(Path(prefect.__file__).parent)
_LOGGING = logging.__file__

# Marks a log record that was recorded; underscored, as formatters that write out all attributes of
# a record leave those away.
_MARK = "_kodosumi_recorded"
_HOOKED = "callHandlers"  # of a Logger, which calls it for records that pass its own filters
_CallHandlers = Callable[[logging.Logger, logging.LogRecord], None]

# Ways to find whose output it is in threads and calls that Prefect's context does not reach.
owners: list[Callable[[], Scope | None]] = []
# Each has all that this process wrote by other ways recorded before it returns.
drains: list[Callable[[], None]] = []


class _Here(threading.local):
    """What the calling thread is doing."""

    handling = False  # a log record is with its handlers, and whatever they write is its text
    quiet = False  # what it writes was recorded where it was said


_here = _Here()


@contextmanager
def said_elsewhere() -> Iterator[None]:
    """What this thread writes in the block belongs to no execution."""
    before, _here.quiet = _here.quiet, True
    try:
        yield
    finally:
        _here.quiet = before


def owner() -> Scope | None:
    """The execution that the calling thread's output belongs to, or None."""
    if _here.quiet or threading.current_thread().name.startswith(QUIET_THREADS):
        return None
    if (scope := known_scope()) is not None:
        return scope
    for find in owners:
        if (scope := find()) is not None:
            return scope
    return None


class _Stream(TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr``: passes on, and records for the owner.

    Attributes:
        replaced: what it stands in for; None in a process that was started without it.
    """

    def __init__(self, stream: TextIO | None, kind: Kind) -> None:
        self.replaced = stream
        self._stream: Any = stream if stream is not None else Nowhere()
        self._kind = kind
        self._held: dict[tuple[str, int], tuple[Scope, Lines]] = {}

    def write(self, text: str) -> int:
        # Where what goes to the stream itself is recorded by other means, text goes beside it.
        to = _beside[self._kind is Kind.STDERR] if _beside is not None else self._stream
        written: int = to.write(text)
        if _here.handling or _is_logged_anyway(sys._getframe().f_back):
            return written
        scope = owner()
        if scope is not None:
            self._record(scope, text)
        return written

    def finish(self, fid: str | None) -> None:
        """Record what was written without a newline at its end; of all executions if None."""
        for key in list(self._held):  # other threads go on writing meanwhile
            if fid in (None, key[0]) and (held := self._held.pop(key, None)):
                scope, lines = held
                for event in lines.finish():
                    _emit(scope, self._kind, event)

    def forget(self) -> None:
        """Drop what was written without a newline: another process records it."""
        self._held.clear()

    def _record(self, scope: Scope, text: str) -> None:
        key = (scope.fid, threading.get_ident())
        _, lines = self._held.pop(key, (scope, None))
        lines = lines if lines is not None else Lines()
        for event in lines.write(text):
            _emit(scope, self._kind, event)
        if lines.pending:
            self._held[key] = (scope, lines)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def writable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        errors: str | None = self._stream.errors
        return errors

    @property
    def buffer(self) -> Any:
        return self._stream.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """As cloudpickle does it for the streams themselves: there it is that of the process."""
        return getattr, (sys, self._kind.value)


def _take(logger: logging.Logger, record: logging.LogRecord) -> bool:
    """Record a log record, once; returns whether its handlers' output is to be ignored."""
    if not _holders:
        return False
    kind = _kind_of(record)
    if kind is None or getattr(record, _MARK, False):
        return True
    if record.name not in RUN_LOGGERS and not _reaches_root(logger):
        return False  # only its own handlers decide where it goes
    scope = owner()
    if scope is None:
        return False
    try:
        text = record.getMessage()
    except Exception as exc:  # arguments that do not fit their format
        text = f"{record.msg!r} with arguments that do not fit it: {exc}"
    if record.exc_info and record.exc_info[0] is not None:
        text = f"{text}\n{_FORMATTER.formatException(record.exc_info)}"
    source = orjson.loads(event_source(scope))
    source |= {"level": record.levelname, "logger": record.name}
    setattr(record, _MARK, True)
    _emit(scope, kind, text, orjson.dumps(source).decode())
    return True


def _reaches_root(logger: logging.Logger | None) -> bool:
    while logger is not None and logger.parent is not None:
        if not logger.propagate:
            return False
        logger = logger.parent
    return True


def _recording(call_handlers: _CallHandlers) -> _CallHandlers:
    """``Logger.callHandlers`` that records first.

    A handler of ours at the root would be gone after the author's ``dictConfig`` or
    ``basicConfig(force=True)``.
    """

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:
        taken = _take(self, record)
        if not taken or _here.handling:
            return call_handlers(self, record)
        _here.handling = True
        try:
            call_handlers(self, record)
        finally:
            _here.handling = False

    return callHandlers


_FORMATTER = logging.Formatter()
_lock = threading.Lock()
_holders = 0
_stdout: _Stream | None = None
_stderr: _Stream | None = None
_handling: _CallHandlers | None = None  # ours, while it is in place
_handling_before: _CallHandlers = logging.Logger.callHandlers
_beside: tuple[TextIOBase, TextIOBase] | None = None
_descriptors: tuple[int, ...] = ()
_last_words: LastWords | None = None


def be_supervised(out: int, err: int, last_words: LastWords | None = None) -> None:
    """What this process writes to its descriptors is recorded by its supervisor's help.

    Arguments:
        out: descriptor that text goes to which is recorded here.
        err: likewise.
        last_words: keeps what is recorded here, for the case that this process is killed.
    """
    global _last_words
    _last_words = last_words
    pass_on_by(ToDescriptor(out), ToDescriptor(err))


def pass_on_by(out: TextIOBase, err: TextIOBase, *more: int) -> None:
    """Have the text that is recorded here go there, and not to the streams it was written to.

    Arguments:
        more: descriptors that child processes need beside theirs.
    """
    global _beside, _descriptors
    _beside, _descriptors = (out, err), (out.fileno(), err.fileno(), *more)


def descriptors() -> tuple[int, ...]:
    """Those of ``pass_on_by``, for a child process that inherits none; empty if there are none."""
    return _descriptors


def hold() -> None:
    """Capture until ``release`` was called as often."""
    global _holders, _stdout, _stderr, _handling, _handling_before
    attach_adapters()
    with _lock:
        _holders += 1
        if _holders > 1 and sys.stdout is _stdout and sys.stderr is _stderr:
            return
        if _beside is None:
            # Prefect's console handler takes the real stream, and keeps it when this is over.
            ensure_logging_setup()
        if not isinstance(sys.stdout, _Stream):
            sys.stdout = _stdout = _Stream(sys.stdout, Kind.STDOUT)
        if not isinstance(sys.stderr, _Stream):
            sys.stderr = _stderr = _Stream(sys.stderr, Kind.STDERR)
        if logging.Logger.callHandlers is not _handling:
            _handling_before = logging.Logger.callHandlers
            _handling = _recording(_handling_before)
            setattr(logging.Logger, _HOOKED, _handling)


def streams() -> "list[tuple[TextIO | None, _Stream]]":
    """The streams of this process, each with what stands in for it while output is captured."""
    return [(stream.replaced, stream) for stream in (_stdout, _stderr) if stream is not None]


def release(fid: str) -> None:
    """Stop capturing for one holder; what an execution wrote without a newline is recorded."""
    global _holders, _handling
    finish(fid)
    with _lock:
        _holders -= 1
        if _holders:
            return
        if logging.Logger.callHandlers is _handling:
            setattr(logging.Logger, _HOOKED, _handling_before)
            _handling = None
        # Else another wrapper calls it: it stays, and records nothing meanwhile.
        if _stdout is not None and sys.stdout is _stdout:
            sys.stdout = _stdout.replaced
        if _stderr is not None and sys.stderr is _stderr:
            sys.stderr = _stderr.replaced


def finish(fid: str | None) -> None:
    """Record what an execution wrote without a newline so far, such as at the end of a task.

    Arguments:
        fid: the execution; None means all of them.
    """
    for stream in (_stdout, _stderr):
        if stream is not None:
            stream.finish(fid)
    for drain in drains:
        drain()


def record(scope: Scope, kind: Kind, text: str, ts: float, source: str | None = None) -> None:
    """Record what was said as an event of its owner's.

    Arguments:
        ts: seconds since the epoch.
        source: as in `Event`, unless it is the scope's.
    """
    client = get_client()
    kept = kept_payload(kind, plain(text), client.settings)
    if kept is None:
        return
    event = Event(ts, kind, kept, scope.attempt, source or event_source(scope))
    outlives = _last_words is None or _last_words.add(scope.fid, event)
    client.emit(scope.fid, event)
    if not outlives:
        get_client().deliver(LARGE_DELIVERY_SECONDS)


def _emit(scope: Scope, kind: Kind, text: str, source: str | None = None) -> None:
    if text:
        record(scope, kind, text, time.time(), source)


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
        if frame.f_code is PRINT_AS_LOG:
            return True
        frame = frame.f_back
    return False


def _is_logged_anyway(frame: FrameType | None) -> bool:
    """Whether this write is from a captured log record, or not from the author's code.

    Arguments:
        frame: that writes; None if nothing but C does, as ``atexit.register(print, …)`` has it.
    """
    if frame is None or frame.f_code.co_filename != _LOGGING:
        return False
    record = frame.f_locals.get("record")
    if not isinstance(record, logging.LogRecord):
        return False
    # A QueueListener's handlers write in another thread than its logger's.
    return getattr(record, _MARK, False) or record.name.partition(".")[0] in NOT_OURS


def _after_fork() -> None:
    """A child has other threads, and its parent records what it wrote itself."""
    global _lock, _last_words
    _lock = threading.Lock()
    _last_words = None
    drains.clear()
    for stream in (_stdout, _stderr):
        if stream is not None:
            stream.forget()


os.register_at_fork(after_in_child=_after_fork)
