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


class RunningS3(S3Server):
    """A server in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        (folder / BUCKET).mkdir(parents=True)
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        super().__init__(f"http://127.0.0.1:{self._port}", folder)
        self.start()

    def start(self) -> None:
        log = self.folder.with_suffix(".log")
        rclone = str(Path(sys.executable).with_name("rclone"))
        command = [rclone, "serve", "s3", str(self.folder), "--addr", f"127.0.0.1:{self._port}"]
        command += ["--auth-key", f"{KEY},{SECRET}", "--config", "/dev/null"]
        command += ["--vfs-cache-mode", "off"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for(
            lambda: _listens(self._port) or self._process.poll() is not None, 30, "the S3 server"
        )
        assert self._process.poll() is None, log.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)


@contextmanager
def serving_s3(folder: Path) -> Iterator[RunningS3]:
    """Run the server until the block ends."""
    server = RunningS3(folder)
    try:
        yield server
    finally:
        server.kill()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
