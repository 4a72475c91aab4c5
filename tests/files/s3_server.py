"""A real S3 server: rclone over a folder, started once a session."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kodosumi_prefect.files.storage import Storage
from tests.waiting import wait_for

KEY, SECRET = "test-access-key", "test-secret-key"
BUCKET = "files"


class S3Server:
    """A server of the bucket ``files``.

    Attributes:
        url: of the server.
        folder: where its buckets are.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    @property
    def options(self) -> dict[str, str]:
        """What ``Storage`` has to know to reach it."""
        return {
            "endpoint": self.url,
            "region": "us-east-1",
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "allow_http": "true",
        }

    def storage(self, prefix: str, **options: str) -> Storage:
        """A storage in the bucket."""
        return Storage(f"s3://{BUCKET}/{prefix}", self.options | options)


@contextmanager
def serving_s3(folder: Path) -> Iterator[S3Server]:
    """Run the server until the block ends."""
    (folder / BUCKET).mkdir(parents=True)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder.with_suffix(".log")
    command = [
        str(Path(sys.executable).with_name("rclone")),
        "serve",
        "s3",
        str(folder),
        "--addr",
        f"127.0.0.1:{port}",
    ]
    command += ["--auth-key", f"{KEY},{SECRET}", "--config", "/dev/null", "--vfs-cache-mode", "off"]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(lambda: _listens(port) or server.poll() is not None, 30, "the S3 server")
        assert server.poll() is None, log.read_text()
        yield S3Server(f"http://127.0.0.1:{port}", folder)
    finally:
        server.terminate()
        server.wait(20)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
