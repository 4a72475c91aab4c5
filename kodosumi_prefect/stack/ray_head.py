"""The Ray head of a data dir: on loopback, with free ports and a token of its own."""

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from kodosumi_prefect._compat.ray import CLI_MODULE
from kodosumi_prefect.runner.ray_client import token_environment
from kodosumi_prefect.settings import Settings, private_folder
from kodosumi_prefect.stack.child import Child, StackError
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.stack.temporary import temporary_folder

START_TIMEOUT = 90.0  # seconds
# Ray's own default is 15: beside a busy Prefect the Spooler and runs would hear of answers late.
NICENESS = "RAY_worker_niceness"
METRICS = "RAY_enable_metrics_collection"


class RayHead(NamedTuple):
    """Where the Ray of a data dir is or will be."""

    port: int
    client_port: int
    token_path: Path
    temp_dir: Path

    @property
    def address(self) -> str:
        """For ``ray.init(address=…)`` on this machine."""
        return f"127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What a client of it needs."""
        return token_environment(str(self.token_path))

    def recorded(self, pid: int) -> dict[str, Any]:
        """What other processes of this user need to know."""
        return {
            "address": self.address,
            "client_address": f"ray://127.0.0.1:{self.client_port}",
            "token_path": str(self.token_path),
            "temp_dir": str(self.temp_dir),
            "pid": pid,
        }


def plan_ray(settings: Settings) -> RayHead:
    """Choose ports and make the token and folder of a Ray head.

    Raises:
        StackError: Ray is not installed, or its folder belongs to somebody else.
    """
    if find_spec("ray") is None:
        raise StackError(
            "Ray is not installed; run pip install 'kodosumi-prefect[ray]' or set ray_address"
        )
    home = private_folder(settings.data_dir / "ray")
    token_path = home / "token"
    if not token_path.exists():
        draft = home / f"token.{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        draft.replace(token_path)
    return RayHead(free_port(), free_port(), token_path, temporary_folder(settings, "ray"))


def ray_child(head: RayHead, env: Mapping[str, str | None]) -> Child:
    """The ``ray start`` that runs the head and, as long as it lives, Ray's daemons.

    Arguments:
        env: what tasks on the cluster find in their environment beside this process's; None
            removes a variable.
    """
    started = head.temp_dir / "ray_current_cluster"
    options = {
        "--node-ip-address": "127.0.0.1",
        "--port": head.port,
        "--ray-client-server-port": head.client_port,
        # 0 lets the system choose; the defaults are fixed ports and collide with another Ray's.
        "--min-worker-port": 0,
        "--max-worker-port": 0,
        "--dashboard-agent-listen-port": 0,
        "--dashboard-agent-grpc-port": 0,
        "--metrics-export-port": 0,
        "--dashboard-port": free_port(),
        "--include-dashboard": "false",
        "--temp-dir": head.temp_dir,
        "--log-style": "record",
        "--log-color": "false",
    }
    argv = [sys.executable, "-m", CLI_MODULE, "start", "--head", "--block"]
    argv += ["--disable-usage-stats", *(str(part) for pair in options.items() for part in pair)]
    ours: dict[str, str | None] = {
        **env,
        **head.environment(),
        # Ray otherwise waits up to 30 s for busy actors when asked to end.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # Its exporter needs no token, and its metrics contain the names of users' functions.
        METRICS: os.environ.get(METRICS, "0"),
        "AUTOSCALER_METRIC_PORT": str(free_port()),
        "DASHBOARD_METRIC_PORT": str(free_port()),
        NICENESS: os.environ.get(NICENESS, "5"),
        "RAY_ADDRESS": None,
        "RAY_TMPDIR": None,
    }
    return Child(
        "ray",
        argv,
        ours,
        prepare=lambda: _forget_sessions(head),
        # Ray writes this file as the last step of its start.
        ready=lambda: started.exists() and started.read_text().strip() == head.address,
        timeout=START_TIMEOUT,
        grace=15.0,
        order=2,  # before Prefect, to which Runners report their end
        ports=(head.port, head.client_port),
        remains="end",
    )


def _forget_sessions(head: RayHead) -> None:
    """Delete what earlier starts, none of whose processes runs, left in the folder."""
    for entry in head.temp_dir.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
