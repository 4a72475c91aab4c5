"""Whose turn it is to change what a spool client has not delivered yet."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class Turn:
    """The delivering thread has it, and the watch while that thread waits for an answer.

    Attributes:
        asked_at: since when the thread waits for an answer; None if it does not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked_at: float | None = None
        self._asking_began = threading.Event()

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._lock.release()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While the thread waits for others, and touches nothing that the watch does."""
        self.asked_at = time.monotonic()
        if not self._asking_began.is_set():
            self._asking_began.set()
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
            self.asked_at = None

    def asking_for(self) -> float:
        """Seconds that the thread waits for an answer by now; 0 if it does not."""
        asked_at = self.asked_at
        return 0.0 if asked_at is None else max(time.monotonic() - asked_at, 1e-9)

    def await_asking(self, seconds: float) -> bool:
        """Wait until the thread asks; whether it waits for an answer so many ``seconds`` later."""
        self._asking_began.wait()
        time.sleep(seconds)
        if self.asking_for() == 0.0:
            self._asking_began.clear()
            if self.asking_for() == 0.0:  # nor did it begin between these two lines
                return False
            self._asking_began.set()
        return True

    def wake(self) -> None:
        """Have ``await_asking`` return, soon."""
        self._asking_began.set()
