"""Ports on 127.0.0.1 for what the stack starts."""

import random
import socket
import threading

from kodosumi_prefect.stack.postgres_programs import EmbeddedError

# Below Linux' ephemeral ports, so that a port stays free from one start to the next.
PORTS = range(20_000, 32_000)
_own_ports: set[int] = set()  # ports that this process was given
_own_ports_lock = threading.Lock()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now, outside the range of outgoing connections.

    Who gets one binds it later, so a process is given none twice.

    Raises:
        EmbeddedError: none was found.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with _own_ports_lock:
            if port not in _own_ports and port_is_free(port):
                _own_ports.add(port)
                return port
    raise EmbeddedError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
