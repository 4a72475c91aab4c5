"""Whether the Ray cluster in use takes this Python; asked from a process of its own."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from kodosumi_prefect.cli.doctor.finding import Finding, fail, ok, one_line
from kodosumi_prefect.runner.ray_client import ray_client_environment
from kodosumi_prefect.settings import Settings, read_address

PORT_PATIENCE = 3.0  # seconds for the cluster's port
PATIENCE = 60.0  # seconds; joining a cluster takes 8 on two cores

# Ray compares its own version and Python's when it joins, and refuses with both in one line.
JOIN = """
import json, sys
import ray
try:
    ray.init(address=sys.argv[1], namespace="kodosumi-doctor", configure_logging=False,
             log_to_driver=False)
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = {"nodes": len(alive), "cpus": ray.cluster_resources().get("CPU", 0)}
    ray.shutdown()
except Exception as exc:
    found = {"error": " ".join(str(exc).split()) or type(exc).__name__}
print("\\n" + json.dumps(found))
"""


def check_ray(settings: Settings) -> list[Finding]:
    """One finding about the cluster that is configured or recorded; joins it, starts none."""
    recorded = read_address(settings, "ray") or {}
    address = settings.ray_address or recorded.get("address")
    if not address:
        how = "tasks start a local one" if settings.ray_local else "tasks run without it"
        return [ok("ray", f"none is configured; {how}")]
    if address == "local":
        return [ok("ray", "each process starts a local one")]
    if find_spec("ray") is None:
        text = f"{address} is configured and Ray is not installed"
        return [fail("ray", text, "pip install 'kodosumi-prefect[ray]'")]
    if (refusal := _refusal(address)) is not None:
        return [fail("ray", f"{address} {refusal}", "start it or correct ray_address")]
    found = _join(settings, address)
    here = f"Ray {version('ray')}, Python {platform.python_version()}"
    if (error := found.get("error")) is None:
        size = f"{found['nodes']} nodes, {found['cpus']:g} CPUs"
        return [ok("ray", f"{address} takes {here}; {size}")]
    if "ersion mismatch" in error:
        remedy = "install the cluster's Ray, and the minor version of its Python"
        return [fail("ray", f"{address} refuses {here}: {error[:300]}", remedy)]
    return [fail("ray", f"{address} refuses: {error[:300]}", "start it or correct ray_address")]


def _refusal(address: str) -> str | None:
    """Why the cluster's port takes no connection; joining one that is not there takes long."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        if parts.hostname is None or parts.port is None:
            return None  # such as `auto`
        socket.create_connection((parts.hostname, parts.port), PORT_PATIENCE).close()
    except (OSError, ValueError) as exc:
        return f"does not answer: {one_line(exc)}"
    return None


def _join(settings: Settings, address: str) -> dict[str, Any]:
    environment = os.environ | ray_client_environment(settings)
    with subprocess.Popen(
        [sys.executable, "-c", JOIN, address],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return {"error": f"no answer within {PATIENCE:g} s"}
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    lines = output.strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"error": f"joining ended with exit code {process.returncode}"}
    return found
