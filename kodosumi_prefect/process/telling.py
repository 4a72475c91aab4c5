"""Sending a run's process what it wrote by other ways than Python's, for it alone records."""

import threading
import time
from collections import deque

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.order import Drain, Written

MOST = 64 << 20  # bytes that wait for a process; it may be in C code that lets no Python run


class Telling:
    """What a process wrote, until the process says that it is recorded.

    Nothing is sent before ``begin``.

    Arguments:
        channel: to the process.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._waiting: deque[Written | Drain] = deque()
        self._unconfirmed: deque[Written] = deque()
        self._bytes = 0
        self._missing = 0
        self._ended = False
        self._begun = False
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Send from now on; the process has its order."""
        with self._changed:
            self._begun = True
            self._go_on()

    def written(self, kind: str, data: bytes) -> None:
        """The process wrote something; never waits."""
        with self._changed:
            if self._bytes + len(data) > MOST:
                self._missing += len(data)
                return
            if self._missing:
                self._put(self._gap(kind))
                self._missing = 0
            self._put(Written(kind, time.time(), data))
            self._go_on()

    def drained(self, drain: Drain) -> None:
        """All that was written before a ``Drain`` was given to this."""
        with self._changed:
            self._waiting.append(drain)
            self._go_on()

    def confirmed(self, count: int) -> None:
        """So many more are recorded."""
        with self._changed:
            for _ in range(min(count, len(self._unconfirmed))):
                self._bytes -= len(self._unconfirmed.popleft().data)

    def finish(self) -> tuple[Written, ...]:
        """Send nothing more; what is not recorded."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            rest = [item for item in self._waiting if isinstance(item, Written)]
            if self._missing:
                rest.append(self._gap("stderr"))
            return (*self._unconfirmed, *rest)

    def _gap(self, kind: str) -> Written:
        text = f"[{self._missing:,} bytes are missing here: they came faster than was recorded]\n"
        return Written(kind, time.time(), text.encode())

    def _put(self, written: Written) -> None:
        self._waiting.append(written)
        self._bytes += len(written.data)

    def _go_on(self) -> None:
        self._changed.notify_all()
        if self._thread is None and self._begun and self._waiting:
            self._thread = threading.Thread(target=self._send, name="kodosumi-tell", daemon=True)
            self._thread.start()

    def _send(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                item = self._waiting.popleft()
                if isinstance(item, Written):
                    self._unconfirmed.append(item)
            try:
                self._channel.send(item)
            except OSError:
                return  # it is gone; what it did not confirm is left
