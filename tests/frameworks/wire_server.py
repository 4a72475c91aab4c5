"""A local server that speaks OpenAI's and Anthropic's wire format: real SDKs are tried against it.

It answers what it was told to, one reply after the other, whichever API is asked:
`POST /v1/chat/completions`, `/v1/responses` and `/v1/messages`, streaming and not.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.frameworks import wire_anthropic, wire_chat, wire_responses
from tests.frameworks.wire_reply import Reply

FORMATS = {
    "/v1/chat/completions": wire_chat,
    "/v1/responses": wire_responses,
    "/v1/messages": wire_anthropic,
}


@dataclass
class Wire:
    """The server, what it is going to answer, and what it was asked."""

    url: str
    replies: list[Reply] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def will(self, *replies: Reply) -> None:
        """Answer so, after what it was told before."""
        self.replies.extend(replies)

    @property
    def openai(self) -> str:
        """Its base URL, as OpenAI's SDK takes it."""
        return f"{self.url}/v1"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    wire: Wire


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        wire = self.server.wire
        wire.asked.append(body)
        reply = wire.replies.pop(0)
        number = len(wire.asked)
        speaks = FORMATS[self.path.partition("?")[0]]
        if reply.status != 200:
            self._answer(reply.status, speaks.refusal(reply), {"retry-after": "0"})
        elif body.get("stream"):
            self._stream(speaks.events(reply, body, number), reply.cut_after)
        else:
            self._answer(200, speaks.whole(reply, body, number))

    def _answer(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, events: Iterator[str], cut_after: int | None) -> None:
        """Server-sent events in chunks; a cut one lacks the chunk that ends them."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events):
            if number == cut_after:
                self.close_connection = True
                return
            content = event.encode()
            self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def wire_server() -> Iterator[Wire]:
    """The server, inside the block."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.wire = Wire(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.wire
        finally:
            server.shutdown()
            thread.join()
