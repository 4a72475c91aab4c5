"""A panel in a process of its own, which can be killed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kodosumi_prefect.settings import PREFIX, Settings


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def panel_process(settings: Settings, port: int) -> Iterator["subprocess.Popen[str]"]:
    """A panel in a process of its own, once it answers."""
    assert settings.database_url is not None
    environment = os.environ | {
        f"{PREFIX}DATABASE_URL": settings.database_url.get_secret_value(),
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "kodosumi_prefect.cli", "panel", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line.startswith("ready ") for line in process.stdout)
        yield process
    finally:
        process.kill()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()
