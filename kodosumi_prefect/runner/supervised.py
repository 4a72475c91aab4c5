"""What a run's process and its supervisor have to say to each other while the run is executed."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.order import Drain, Outcome, Recorded, Written

DRAIN = 5.0  # seconds that a supervisor may take to send what it read
WATCH = "kodosumi-watch"  # of threads

logger = logging.getLogger(__name__)


class Supervised:
    """The process's side of the channel.

    Arguments:
        channel: to the supervisor, the order received.
        beside_out: as ``process.child.Descriptors``.
        beside_err: likewise.
        memory: likewise.
    """

    def __init__(self, channel: Channel, beside_out: int, beside_err: int, memory: int) -> None:
        self._channel = channel
        self.beside = beside_out, beside_err
        self.memory = memory
        self._lock = threading.Lock()
        self._take: Callable[[Written], None] | None = None
        self._early: list[Written] = []
        self._drains: dict[int, threading.Event] = {}
        self._number = 0

    def listen(self) -> None:
        """Hear the supervisor from now on; this process ends with it."""
        threading.Thread(target=self._listen, name=WATCH, daemon=True).start()

    def record(self, take: Callable[[Written], None]) -> None:
        """Have a function record what this process writes; in another thread.

        It returns when that cannot be lost any more.
        """
        with self._lock:
            early, self._early = self._early, []
            for written in early:
                _given(take, written)
            self._take = take
        self._confirm(len(early))

    def drain(self) -> None:
        """Wait until all that this process wrote is with what records it."""
        with self._lock:
            self._number += 1
            number = self._number
            drained = self._drains[number] = threading.Event()
        try:
            self._channel.send(Drain(number))
        except OSError:
            return  # the supervisor is gone, and this process very soon
        drained.wait(DRAIN)

    def report(self, outcome: Outcome) -> None:
        """Tell how the run ended; from then on this process has to end."""
        with contextlib.suppress(OSError):  # the supervisor is gone, and this process very soon
            self._channel.send(outcome)

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = self._channel.receive()
                if isinstance(message, Written):
                    self._written(message)
                elif isinstance(message, Drain) and (
                    waits := self._drains.pop(message.number, None)
                ):
                    waits.set()
        os.killpg(0, signal.SIGKILL)  # with what it started

    def _written(self, written: Written) -> None:
        with self._lock:
            take = self._take
            if take is None:
                self._early.append(written)
                return
        _given(take, written)
        self._confirm(1)

    def _confirm(self, count: int) -> None:
        if count:
            with contextlib.suppress(OSError):
                self._channel.send(Recorded(count))


def _given(take: Callable[[Written], None], written: Written) -> None:
    try:
        take(written)
    except Exception:  # the run is not to end by this; the Runner passed it on all the same
        logger.exception("%d bytes of %s are not recorded", len(written.data), written.kind)
