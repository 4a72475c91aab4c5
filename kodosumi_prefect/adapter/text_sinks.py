"""Where text goes that is recorded, if not to the stream it was written to."""

import os
import select
from io import TextIOBase


class Nowhere(TextIOBase):
    """Behind the proxy of a stream that the process was started without, as by ``>&-``."""

    def write(self, text: str) -> int:
        return len(text)

    def writable(self) -> bool:
        return True


class ToDescriptor(TextIOBase):
    """A descriptor that is not read by whoever records what this process writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError:
                break  # the disk is full, or nobody reads it: the text is recorded all the same
        return len(text)

    def writable(self) -> bool:
        return True
