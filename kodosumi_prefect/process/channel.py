"""Messages between a supervisor and the process of a run; its end tells either of the other's."""

import pickle
import socket
import struct
import threading
from typing import Any, Self

_LENGTH = struct.Struct("!Q")


class Channel:
    """One end of a socket pair. Both ends belong to the same user and run the same release.

    Several threads may send; one receives.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()

    @classmethod
    def pair(cls) -> "tuple[Channel, Channel]":
        """Two ends that are connected to each other."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """The end that this process inherited; what it starts does not inherit it."""
        end = socket.socket(fileno=descriptor)
        end.set_inheritable(False)
        return cls(end)

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            OSError: the other end is gone.
        """
        body = pickle.dumps(message)
        with self._sending:
            self._end.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self) -> Any:
        """Wait for a message.

        Raises:
            EOFError: the other end is gone.
        """
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return pickle.loads(self._exactly(length))

    def close(self) -> None:
        self._end.close()

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self._end.recv(min(size - len(parts), 1 << 20))
            except ConnectionError:
                part = b""
            if not part:
                raise EOFError("the other process is gone")
            parts += part
        return bytes(parts)
