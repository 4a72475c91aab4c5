"""A bucket that refuses, breaks off or falls silent when a test says so: before a real one."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.files.s3_server import S3Server

SILENT = -1  # no answer, until the fault is over
BROKEN_OFF = -2  # half of the answer, then the connection ends
REFUSAL = b"<Error><Code>Refused</Code><Message>by the test</Message></Error>"

# What is wrong with a request of a method and a target; a status that it is refused with, or one of
# the above. None if it is answered.
Fault = Callable[[str, str], int | None]


class FaultyBucket(S3Server):
    """A server of buckets, as it is reached through the proxy."""

    def __init__(self, url: str, real: S3Server) -> None:
        super().__init__(url, real.folder)
        self.real = real
        self.requests: list[tuple[str, str]] = []
        self._fault: Fault = lambda method, target: None
        self._over = threading.Event()
        self._over.set()

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        """Something is wrong inside the block."""
        self._over.clear()
        self._fault = fault
        try:
            yield
        finally:
            self._fault = lambda method, target: None
            self._over.set()

    def fault_of(self, method: str, target: str) -> int | None:
        """What is wrong with a request."""
        self.requests.append((method, target))
        return self._fault(method, target)

    def wait(self) -> None:
        """Until the fault is over."""
        self._over.wait(60)


def of(method: str, part: str = "", status: int = 503, times: int = 10**6) -> Fault:
    """A fault of requests of a method whose target contains a text, so many times."""
    left = [times]

    def fault(asked: str, target: str) -> int | None:
        if asked != method or part not in target or not left[0]:
            return None
        left[0] -= 1
        return status

    return fault


@contextmanager
def faulty(real: S3Server) -> Iterator[FaultyBucket]:
    """Run the proxy until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the client has gone
                self.close_connection = True

        def _pass_on(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            fault = bucket.fault_of(self.command, self.path)
            if fault == SILENT:
                bucket.wait()
                self.close_connection = True
                return
            if fault is not None and fault > 0:
                self._answer(fault, [], REFUSAL)
                return
            upstream = http.client.HTTPConnection(urlsplit(real.url).netloc, timeout=60)
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(content)
            answer = upstream.getresponse()
            body = answer.read()
            self._answer(answer.status, answer.getheaders(), body, half=fault == BROKEN_OFF)
            upstream.close()

        def _answer(
            self, status: int, headers: list[tuple[str, str]], body: bytes, *, half: bool = False
        ) -> None:
            self.send_response_only(status)
            size = str(len(body))
            for name, value in headers:
                if name.lower() == "content-length":
                    size = value  # of HEAD it is another one
                elif name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("content-length", size)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if half else body)
            self.close_connection = half

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    bucket = FaultyBucket(f"http://127.0.0.1:{server.server_address[1]}", real)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
