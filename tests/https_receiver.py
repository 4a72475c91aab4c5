"""Who answers in place of any https address of the internet, for processes that are told to ask it.

It is their proxy, and signs the certificate of whatever host they name; they trust it alone. What
they send goes through all of their own code, address, TLS and all, and reaches nobody else.
"""

import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


class Posted(NamedTuple):
    """A request as it came in, decrypted."""

    host: str
    path: str
    headers: dict[str, str]
    json: Any


class HttpsReceiver:
    """Notes what it gets and answers 202."""

    def __init__(self, folder: Path) -> None:
        self.got: list[Posted] = []
        self.port = 0
        self.authority = folder / "authority.pem"
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.authority.write_bytes(self._certificate("tests", authority=True))

    @property
    def environment(self) -> dict[str, str | None]:
        """For processes that are to ask it: what uses requests, or httpx, heeds these."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.port}",
            "https_proxy": None,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": None,
            "REQUESTS_CA_BUNDLE": str(self.authority),
        }

    def context(self, host: str) -> ssl.SSLContext:
        """TLS as that host."""
        path = self._folder / f"{host}.pem"
        private = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(private + self._certificate(host, authority=False))
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(path)
        return made

    def _certificate(self, name: str, *, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder(issuer, subject, self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@contextmanager
def receiving_https(folder: Path) -> Iterator[HttpsReceiver]:
    receiver = HttpsReceiver(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.host = self.path.rpartition(":")[0]
            self.connection = receiver.context(self.host).wrap_socket(
                self.connection, server_side=True
            )
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", 0)
            self.close_connection = False  # also if a client asks by HTTP/1.0

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append(Posted(self.host, self.path, headers, json.loads(body)))
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.5})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
