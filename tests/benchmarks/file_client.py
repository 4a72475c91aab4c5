"""A client of ``/files`` that takes little processor itself, as curl and browsers do."""

import http.client
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from kodosumi_prefect.vocabulary import API_KEY_HEADER

MIB = 1024**2
BOUNDARY = "file-of-a-benchmark"
PIECE = 256 * 1024  # bytes that are taken off the wire at once


class FileClient:
    """One connection to a panel.

    Arguments:
        token: of the API key's header.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        self._key = {API_KEY_HEADER: token}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers, as JSON."""
        headers = self._key | {"content-type": "application/json"}
        content = None if body is None else json.dumps(body)
        return json.loads(self._answer(method, path, content, headers).read() or "null")

    def send_chunk(self, upload: str, number: int, content: bytes) -> None:
        """Send a part of a file."""
        fields = {"upload_id": upload, "chunk_number": str(number)}
        before = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        before += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="chunk"; filename="blob"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = b"".join([before.encode(), content, f"\r\n--{BOUNDARY}--\r\n".encode()])
        headers = self._key | {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        self._answer("POST", "/files/chunk", body, headers).read()

    def download(self, path: str, target: Path) -> int:
        """Save a file; how many bytes it has. It is on the disk then."""
        answer = self._answer("GET", path, None, self._key)
        buffer = memoryview(bytearray(PIECE))
        size = 0
        with target.open("wb", buffering=0) as file:
            while read := answer.readinto(buffer):
                file.write(buffer[:read])
                size += read
            os.fsync(file.fileno())
        return size

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def _answer(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        self._http.request(method, path, body, headers)
        answer = self._http.getresponse()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read()[:200]!r}")
        return answer


def upload(
    connect: Callable[[], FileClient],
    fid: str,
    source: Path,
    chunk: int,
    at_once: int,
    name: str | None = None,
) -> None:
    """Send a file in chunks and have it be in ``in/`` of an execution.

    Arguments:
        connect: makes a connection.
        chunk: bytes of a chunk.
        at_once: chunks in flight.
    """
    client = connect()
    size, name = source.stat().st_size, name or source.name
    chunks = -(-size // chunk)
    batch = client.ask("POST", "/files/init_batch")["batch_id"]
    announced = {"filename": name, "total_chunks": chunks, "batch_id": batch, "size": size}
    id_ = client.ask("POST", "/files/init", announced)["upload_id"]
    client.close()  # what is idle for some seconds is hung up on
    send_chunks(connect, id_, source, chunk, at_once)
    item = {id_: {"filename": name, "totalChunks": chunks}}
    client.ask("POST", f"/files/complete/{fid}/{batch}/in", item)
    client.close()


def send_chunks(
    connect: Callable[[], FileClient], upload: str, source: Path, chunk: int, at_once: int
) -> None:
    """Send all chunks of a file that was announced."""
    left: SimpleQueue[int] = SimpleQueue()
    for number in range(-(-source.stat().st_size // chunk)):
        left.put(number)

    def send() -> None:
        client = connect()
        with source.open("rb", buffering=0) as content:
            for number in _taken(left):
                client.send_chunk(upload, number, os.pread(content.fileno(), chunk, number * chunk))
        client.close()

    with ThreadPoolExecutor(at_once) as threads:
        for done in [threads.submit(send) for _ in range(at_once)]:
            done.result()


def _taken(left: "SimpleQueue[int]") -> Iterator[int]:
    while True:
        try:
            yield left.get_nowait()
        except Empty:
            return
