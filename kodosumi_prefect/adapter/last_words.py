"""What a process said last, in memory that outlives it: a kill leaves it there to be recorded.

The spool client delivers from a thread of its own, a moment later. The process of a run writes what
is printed and logged here as well, which costs microseconds; whoever sees to a run whose process
was killed records what had not reached the database.
"""

import logging
import mmap
import pickle
import struct
import threading
from typing import NamedTuple

from kodosumi_prefect.events import Event
from kodosumi_prefect.process.memory import SIZE

ENTRY_MOST = SIZE // 8  # bytes
LOCK_WAIT = 0.05  # seconds for another thread's entry; a handler of a signal may be in its way

# How many bytes were ever written before the oldest entry, and with the newest one. In the native
# order a number is written at once, or not at all.
_HEADER = struct.Struct("@QQ")
_BEGIN, _END = 0, 8
_COUNT = struct.Struct("@Q")
_LENGTH = struct.Struct("@I")
_ROOM = SIZE - _HEADER.size

logger = logging.getLogger(__name__)


class Said(NamedTuple):
    """An event and its execution."""

    fid: str
    event: Event


class LastWords:
    """A ring of the newest events of one process; when it is full the oldest give way.

    Written by one process, in any thread. After its end, or its kill at any moment, what is between
    begin and end is whole.

    Arguments:
        descriptor: of a file in memory, as ``process.memory`` makes them.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SIZE)
        self._lock = threading.Lock()
        self._begin, self._end = _HEADER.unpack_from(self._memory)

    def add(self, fid: str, event: Event) -> bool:
        """Note an event; False if there is no room for one that large."""
        data = pickle.dumps((fid, tuple(event)), pickle.HIGHEST_PROTOCOL)
        size = _LENGTH.size + len(data)
        if size > ENTRY_MOST or not self._lock.acquire(timeout=LOCK_WAIT):
            return False
        try:
            while self._end + size - self._begin > _ROOM:
                (oldest,) = _LENGTH.unpack(self._read(self._begin, _LENGTH.size))
                self._begin += _LENGTH.size + oldest
            _COUNT.pack_into(self._memory, _BEGIN, self._begin)
            self._write(self._end, _LENGTH.pack(len(data)) + data)
            self._end += size
            _COUNT.pack_into(self._memory, _END, self._end)
        finally:
            self._lock.release()
        return True

    def entries(self) -> list[Said]:
        """What is there, oldest first; of a damaged ring, what is before the damage."""
        entries: list[Said] = []
        at = self._begin
        while at < self._end:
            try:
                (length,) = _LENGTH.unpack(self._read(at, _LENGTH.size))
                fid, fields = pickle.loads(self._read(at + _LENGTH.size, length))
            except Exception as exc:  # pickle has many errors
                logger.warning("last words of a process cannot be read: %s", exc)
                break
            entries.append(Said(fid, Event(*fields)))
            at += _LENGTH.size + length
        return entries

    def take(self) -> list[Said]:
        """As ``entries``, for another process that begins here: they are there no more."""
        entries = self.entries()
        self._begin = self._end
        _COUNT.pack_into(self._memory, _BEGIN, self._begin)
        return entries

    def _write(self, position: int, data: bytes) -> None:
        start = position % _ROOM
        first = data[: _ROOM - start]
        self._memory[_HEADER.size + start : _HEADER.size + start + len(first)] = first
        rest = data[len(first) :]
        self._memory[_HEADER.size : _HEADER.size + len(rest)] = rest

    def _read(self, position: int, length: int) -> bytes:
        start = position % _ROOM
        first = self._memory[_HEADER.size + start : _HEADER.size + min(start + length, _ROOM)]
        rest = self._memory[_HEADER.size : _HEADER.size + length - len(first)]
        return first + rest
