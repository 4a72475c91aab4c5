"""HTTP services that really listen, in threads of the test's process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.waiting import wait_for


@contextmanager
def served_app(app: Any, port: int = 0, **options: Any) -> Iterator[str]:
    """An ASGI app under uvicorn on loopback; its address without a slash at the end.

    Arguments:
        port: 0 takes a free one.
    """
    # With its protocol named, answers are sent at once; see the panel's own listener.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=1, **options
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), name="service", daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), 10, "the start of a service")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive(), "the service does not stop"
