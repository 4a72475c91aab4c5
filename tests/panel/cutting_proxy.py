"""A TCP proxy before a panel that cuts connections, in the middle of what is answered."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class CuttingProxy:
    """Passes on to ``target``; an address that clients use in place of the panel's.

    Attributes:
        budget: bytes of answers after which a connection is cut; None for never.
        growth: what that grows by with each connection, so that it gets on.
        connections: that there were.
    """

    def __init__(self, target: str) -> None:
        where = urlsplit(target)
        self._target = (where.hostname or "", where.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: set[socket.socket] = set()
        self.budget: int | None = None
        self.growth = 0
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut all connections now."""
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    panel = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                self.connections += 1
                budget = self.budget
                if budget is not None:
                    self.budget = budget + self.growth
                self._ends |= {client, panel}
                threading.Thread(target=self._pass, args=(client, panel), daemon=True).start()
                threading.Thread(
                    target=self._pass, args=(panel, client, budget), daemon=True
                ).start()

    def _pass(self, source: socket.socket, sink: socket.socket, budget: int | None = None) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data if budget is None else data[:budget])
                if budget is not None and (budget := budget - len(data)) <= 0:
                    break
        for end in (source, sink):
            self._ends.discard(end)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_proxy(target: str) -> Iterator[CuttingProxy]:
    made = CuttingProxy(target)
    try:
        yield made
    finally:
        made.close()
