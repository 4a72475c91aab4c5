"""Servers of S3 that refuse: moto with keys that may not do everything, and one that can ail."""

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from tests.waiting import wait_for

BUCKET = "files"
REGION = "us-east-1"
READING = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*",'
    ' "Action": ["s3:GetObject", "s3:ListBucket"]}]}'
)
EVERYTHING = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": "*"}]}'
)


class RulingS3(NamedTuple):
    """A server with the bucket ``files`` that checks keys and what they may do.

    Attributes:
        writer, reader: id and secret of keys.
    """

    url: str
    writer: tuple[str, str]
    reader: tuple[str, str]

    def options(self, key: tuple[str, str]) -> dict[str, str]:
        """What ``Storage`` has to know to reach it with a key."""
        return {
            "endpoint": self.url,
            "region": REGION,
            "access_key_id": key[0],
            "secret_access_key": key[1],
            "allow_http": "true",
        }


@contextmanager
def serving_ruling_s3(log: Path) -> Iterator[RulingS3]:
    """Run moto until the block ends."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1"]
    with log.open("wb") as output:
        server = subprocess.Popen([*command, "-p", str(port)], stdout=output, stderr=output)
    try:
        wait_for(lambda: _answers(url) or server.poll() is not None, 30, "moto")
        assert server.poll() is None, log.read_text()
        yield _with_rules(url)
    finally:
        server.terminate()
        server.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/", trust_env=False).is_success
    except httpx.TransportError:
        return False


def _with_rules(url: str) -> RulingS3:
    # Half a second, which no other test is to wait for.
    import boto3
    from botocore.config import Config

    def client(service: str) -> object:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id="anything",
            aws_secret_access_key="anything",
            config=Config(proxies={}),
        )

    iam, keys = client("iam"), []
    for name, policy in (("writer", EVERYTHING), ("reader", READING)):
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        keys.append((key["AccessKeyId"], key["SecretAccessKey"]))
    client("s3").create_bucket(Bucket=BUCKET)
    # From here on, rules hold.
    httpx.post(f"{url}/moto-api/reset-auth", content=b"0", trust_env=False).raise_for_status()
    return RulingS3(url, *keys)


class AilingS3:
    """A way to another server, which answers errors instead while ``answer`` is set.

    Attributes:
        url: where it is.
        answer: status and body of each answer.
        left: of how many further answers; None for no end.
    """

    def __init__(self, behind: str) -> None:
        self.behind = urlsplit(behind).netloc
        self.answer: tuple[int, bytes] | None = None
        self.left: int | None = None
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"ailing": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def ail(self, status: int, code: str, times: int | None = None) -> None:
        """Answer with S3's document of an error from now on, or so many times."""
        self.left = times
        self.answer = (status, document(code))

    def heal(self) -> None:
        """Be the other server again."""
        self.answer = None

    def next_answer(self) -> tuple[int, bytes] | None:
        with self._lock:
            if self.answer is None or self.left == 0:
                return None
            if self.left is not None:
                self.left -= 1
            return self.answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def document(code: str) -> bytes:
    """What S3 answers to a request that it does not do."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>A message of S3.</Message>"
        "<AWSAccessKeyId>test-access-key</AWSAccessKeyId><StringToSign>AWS4-HMAC</StringToSign>"
        "<RequestId>4442587FB7D0A2F9</RequestId><HostId>aG9zdA==</HostId></Error>"
    ).encode()


class _Handler(BaseHTTPRequestHandler):
    ailing: AilingS3
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if (answer := self.ailing.next_answer()) is not None:
            self._answer(answer[0], {"Content-Type": "application/xml"}, answer[1])
            return
        with closing(http.client.HTTPConnection(self.ailing.behind, timeout=30)) as behind:
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            behind.request(self.command, self.path, body, headers)
            other = behind.getresponse()
            kept = {n: v for n, v in other.getheaders() if n not in ("Connection", "Date")}
            self._answer(other.status, kept, other.read())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        length = str(len(body))
        if self.command == "HEAD":
            length, body = headers.get("Content-Length", "0"), b""
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _do
