"""What reaches Ray's log files of a worker by other ways than Python's, while it executes a task.

Standard output and standard error of a Ray worker are files. Everything that was appended to them,
by C code, a subprocess, a stream that somebody kept, and that this package did not write itself, is
recorded. There is no pipe in between: C code that holds the interpreter could fill it and wait for
a reader that has to wait for the interpreter.
"""

import codecs
import fcntl
import io
import logging
import mmap
import os
import re
import stat
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from kodosumi_prefect._compat.ray import LOG_MARKERS
from kodosumi_prefect.adapter import capture
from kodosumi_prefect.adapter.execution import only_live
from kodosumi_prefect.adapter.redrawn import Lines
from kodosumi_prefect.events import Kind
from kodosumi_prefect.spooler.route import in_ray_worker

POLL = 0.5  # seconds between two looks during a task; its end looks, too
CHUNK = 4 << 20  # bytes read at once
NEARBY = 1 << 16  # bytes that others may append between a write of ours and its position
OURS_SIZE = 1 << 20  # bytes of memory for the ranges between two looks

KINDS = (Kind.STDOUT, Kind.STDERR)  # of descriptors 1 and 2
_MARKER = re.compile(rb"^:(?:%s):[^\n]*\n" % b"|".join(LOG_MARKERS), re.MULTILINE)
_COUNT = struct.Struct("=Q")
_RANGE = struct.Struct("=BQQ")  # which file, begin, end

logger = logging.getLogger(__name__)


class Span(NamedTuple):
    """A part of a file."""

    begin: int
    end: int


class Ours:
    """Which parts of the files this package wrote, in this process and in children of it.

    Arguments:
        descriptor: of a file in memory that these processes share.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, OURS_SIZE)
        self._lock = threading.RLock()  # a handler of a signal may print while its thread writes
        self._readable: dict[int, int] = {}

    def write(self, which: int, descriptor: int, data: bytes) -> None:
        """Append to a file, and note where that is."""
        with self.locked():
            while data:
                try:
                    written = os.write(descriptor, data)
                except OSError:
                    return  # a full disk; the text is recorded all the same
                end = self._end_of(data[:written], descriptor)
                self._add(which, end - written, end)
                data = data[written:]

    def take(self) -> list[list[Span]]:
        """By file, what was written since the last time; for whoever has it locked."""
        spans: list[list[Span]] = [[] for _ in KINDS]
        (count,) = _COUNT.unpack_from(self._memory)
        for number in range(count):
            which, begin, end = _RANGE.unpack_from(self._memory, self._place(number))
            spans[which].append(Span(begin, end))
        _COUNT.pack_into(self._memory, 0, 0)
        return spans

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Have nobody write meanwhile; POSIX locks are between processes, and end with them."""
        with self._lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def _add(self, which: int, begin: int, end: int) -> None:
        (count,) = _COUNT.unpack_from(self._memory)
        if count:
            last = _RANGE.unpack_from(self._memory, self._place(count - 1))
            if last[0] == which and last[2] == begin:
                count, begin = count - 1, last[1]
        if self._place(count + 1) > OURS_SIZE:
            return  # it is recorded twice, which is better than never
        _RANGE.pack_into(self._memory, self._place(count), which, begin, end)
        _COUNT.pack_into(self._memory, 0, count + 1)

    def _place(self, number: int) -> int:
        return _COUNT.size + number * _RANGE.size

    def _end_of(self, data: bytes, descriptor: int) -> int:
        """Where data ends that was just appended; others may have appended behind it."""
        if descriptor not in self._readable:
            self._readable[descriptor] = readable(descriptor)
        file, end = self._readable[descriptor], os.lseek(descriptor, 0, os.SEEK_CUR)
        if end < len(data) or os.pread(file, len(data), end - len(data)) == data:
            return end
        begin = max(end - len(data) - NEARBY, 0)
        at = os.pread(file, end - begin, begin).rfind(data)
        return begin + at + len(data) if at >= 0 else end


def readable(descriptor: int) -> int:
    """Another descriptor of the same file, to read it by."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


class Beside(io.TextIOBase):
    """Writes text that is recorded here to one of the files, as ours."""

    def __init__(self, ours: Ours, which: int, descriptor: int) -> None:
        self._ours = ours
        self._which = which
        self._descriptor = descriptor

    def write(self, text: str) -> int:
        self._ours.write(self._which, self._descriptor, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True


class _File:
    """One of the files, from where it was read last."""

    def __init__(self, kind: Kind, descriptor: int) -> None:
        self.kind = kind
        self._file = readable(descriptor)
        self.begin()

    def begin(self) -> None:
        """Read what comes from now on."""
        self._position = os.fstat(self._file).st_size
        self._ours: list[Span] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines = Lines()

    def read(self, ours: list[Span]) -> tuple[list[str], bool]:
        """Texts of the events that others' new bytes complete; whether there is more to read."""
        size = os.fstat(self._file).st_size
        self._position = min(self._position, size)  # somebody cut it off
        self._ours += [span for span in ours if span.end > self._position]
        end = min(size, self._position + CHUNK)
        data = os.pread(self._file, end - self._position, self._position)
        theirs, at = bytearray(), self._position
        for span in sorted(self._ours):
            theirs += data[at - self._position : max(span.begin - self._position, 0)]
            at = max(at, span.end)
        theirs += data[at - self._position :]
        self._position += len(data)
        self._ours = [span for span in self._ours if span.end > self._position]
        text = self._decoder.decode(_MARKER.sub(b"", bytes(theirs)))
        return self._lines.write(text), len(data) == CHUNK

    def finish(self) -> list[str]:
        """The texts of what was written without an end."""
        return self._lines.finish()


class LogFiles:
    """Reads the files while tasks are executed."""

    def __init__(self) -> None:
        self.ours = Ours(_memory())
        self.beside = Beside(self.ours, 0, 1), Beside(self.ours, 1, 2)
        self._files = [_File(kind, n + 1) for n, kind in enumerate(KINDS)]
        self._reading = threading.RLock()
        self._tasks = 0
        self._over = threading.Event()

    def begin(self) -> None:
        """A task begins."""
        with self._reading:
            self._tasks += 1
            if self._tasks > 1:
                return
            with self.ours.locked():
                self.ours.take()
                for file in self._files:
                    file.begin()
            self._over = threading.Event()
            arguments = [self._over]
            threading.Thread(target=self._poll, args=arguments, name=THREAD, daemon=True).start()

    def end(self) -> None:
        """A task ends; what it wrote was read by ``read``."""
        with self._reading:
            self._tasks -= 1
            if not self._tasks:
                self._over.set()

    def read(self, *, last: bool = True) -> None:
        """Record what was appended.

        Arguments:
            last: what has no newline at its end yet, too.
        """
        with self._reading:
            if not self._tasks:
                return
            replaced = [stream for stream, _ in capture.streams()]
            for stream in {*replaced, sys.__stdout__, sys.__stderr__}:
                with suppress(OSError, ValueError):  # the author closed it
                    if stream is not None:
                        stream.flush()
            while self._read(last):
                pass

    def after_fork(self) -> None:
        """A child's part is to note what it writes."""
        self._reading = threading.RLock()
        self._tasks = 0
        self.ours.after_fork()

    def _read(self, last: bool) -> bool:
        scope, more = only_live(), False
        with self.ours.locked():
            read = [
                (file, *file.read(ours))
                for file, ours in zip(self._files, self.ours.take(), strict=True)
            ]
        for file, texts, goes_on in read:
            more = more or goes_on
            if last and not goes_on:
                texts += file.finish()
            for text in filter(None, texts):
                if scope is not None:  # else there are several, and nobody knows whose it is
                    capture.record(scope, file.kind, text, time.time())
        return more

    def _poll(self, over: threading.Event) -> None:
        while not over.wait(POLL):
            try:
                self.read(last=False)
            except Exception:  # what is not recorded is in Ray's files
                logger.exception("output of this Ray worker cannot be read now")


THREAD = "kodosumi-log-files"
_log_files: LogFiles | None = None


@contextmanager
def read_log_files() -> Iterator[None]:
    """Within the block, what reaches this Ray worker's files is recorded; its end has it recorded.

    Where output does not go to files, nothing is done.
    """
    files = _of_this_process()
    if files is None:
        yield
        return
    files.begin()
    try:
        with _handlers_moved():
            yield
            files.read()
    finally:
        files.end()


def write_as_ours(out: int, err: int, ours: int) -> None:
    """Be a child of a process whose files are read: note what is written there and recorded here.

    Arguments:
        out: descriptor of the file of standard output.
        err: likewise.
        ours: of the memory that they share, as in `Ours`.
    """
    shared = Ours(ours)
    capture.pass_on_by(Beside(shared, 0, out), Beside(shared, 1, err), ours)


def _of_this_process() -> LogFiles | None:
    global _log_files
    if _log_files is None and in_ray_worker() and all(map(_is_file, (1, 2))):
        _log_files = LogFiles()
        capture.pass_on_by(*_log_files.beside, _log_files.ours.descriptor)
        capture.drains.append(_log_files.read)
    return _log_files


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


@contextmanager
def _handlers_moved() -> Iterator[None]:
    """Have handlers of logs that kept a stream write by what stands in for it, and back."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {handler for one in loggers for handler in getattr(one, "handlers", ())}
    moved = []
    for handler in handlers:
        for stream, instead in capture.streams():
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                moved.append((handler, stream))
                _move(handler, instead)
    try:
        yield
    finally:
        for handler, stream in moved:
            _move(handler, stream)


def _move(handler: Any, stream: Any) -> None:
    handler.setStream(stream)
    if (console := getattr(handler, "console", None)) is not None:  # Prefect's
        console.file = stream


def _memory() -> int:
    descriptor = os.memfd_create("kodosumi-log-files")
    os.ftruncate(descriptor, OURS_SIZE)
    return descriptor


def _after_fork() -> None:
    if _log_files is not None:
        _log_files.after_fork()


os.register_at_fork(after_in_child=_after_fork)
