"""What a run's process writes to its standard output and its standard error."""

import fcntl
import logging
import os
import select
import struct
import termios
import threading
import time
from collections.abc import Callable

CHUNK = 1 << 16  # bytes

_INT = struct.Struct("i")

logger = logging.getLogger(__name__)


class Output:
    """Reads what a process writes to one of its descriptors, and passes it on.

    Arguments:
        to: descriptor of this process that it goes to, such as Ray's file of a worker's output.
        heard: called with all of it, too, in its order.

    Attributes:
        inlet: what the process writes to; to be closed here once the process has it.
    """

    def __init__(self, to: int, heard: Callable[[bytes], None]) -> None:
        self._to = to
        self._heard = heard
        self._outlet, self.inlet = os.pipe()
        self._read_bytes = 0
        self._progress = threading.Condition()
        self._ended = False
        self._refused = False
        self._thread = threading.Thread(target=self._read, name=f"kodosumi-output-{to}")
        self._thread.daemon = True

    def begin(self) -> None:
        """Read from now on; the process has its end."""
        os.close(self.inlet)
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Wait until all that was written by now was heard."""
        until = time.monotonic() + seconds
        with self._progress:
            if self._ended:
                return
            waiting = fcntl.ioctl(self._outlet, termios.FIONREAD, _INT.pack(0))
            target = self._read_bytes + _INT.unpack(waiting)[0]
            while self._read_bytes < target and not self._ended:
                if not self._progress.wait(max(until - time.monotonic(), 0.0)):
                    return

    def finish(self, seconds: float) -> None:
        """Wait until all of it was read; processes that it left behind may hold the pipe open."""
        self._thread.join(seconds)

    def _read(self) -> None:
        try:
            while True:
                # Bytes are either in the pipe or counted, for whoever drains.
                self._await()
                with self._progress:
                    data = os.read(self._outlet, CHUNK)
                    if not data:
                        return
                    self._pass_on(data)
                    self._heard(data)
                    self._read_bytes += len(data)
                    self._progress.notify_all()
        finally:
            with self._progress:
                self._ended = True
                self._progress.notify_all()
            os.close(self._outlet)

    def _await(self) -> None:
        poll = select.poll()
        poll.register(self._outlet, select.POLLIN)
        poll.poll()

    def _pass_on(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._to, data) :]
            except OSError as exc:  # a full disk, a terminal that is gone: the run goes on
                if not self._refused:
                    logger.warning(
                        "output of a run does not get to descriptor %s: %s", self._to, exc
                    )
                self._refused = True
                return
            self._refused = False
