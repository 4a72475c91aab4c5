"""What a run's process writes to its standard output and its standard error."""

import os
import threading

CHUNK = 1 << 16  # bytes


class Output:
    """Reads what a process writes to one of its descriptors, and passes it on.

    Arguments:
        to: descriptor of this process that it goes to, such as Ray's file of a worker's output.

    Attributes:
        inlet: what the process writes to; to be closed here once the process has it.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._outlet, self.inlet = os.pipe()
        self._thread = threading.Thread(target=self._read, name=f"kodosumi-output-{to}")
        self._thread.daemon = True

    def begin(self) -> None:
        """Read from now on; the process has its end."""
        os.close(self.inlet)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait until all of it was read; processes that it left behind may hold the pipe open."""
        self._thread.join(seconds)

    def take(self, data: bytes) -> None:
        """What becomes of the bytes, in their order."""
        while data:
            data = data[os.write(self._to, data) :]

    def _read(self) -> None:
        try:
            while data := os.read(self._outlet, CHUNK):
                self.take(data)
        except OSError:
            pass  # nobody reads it any more
        finally:
            os.close(self._outlet)
