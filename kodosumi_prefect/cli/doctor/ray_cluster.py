"""Whether the Ray cluster in use takes this Python and has a Spooler; another process asks it."""

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

import psycopg

from kodosumi_prefect.cli.doctor.finding import Finding, fail, ok, one_line, warn
from kodosumi_prefect.runner.ray_client import is_stillborn, ray_client_environment
from kodosumi_prefect.secret_variables import inherited_environment
from kodosumi_prefect.settings import (
    VERSION,
    DatabaseUrlError,
    Settings,
    database_url,
    read_address,
)
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.batch import PROTOCOL
from kodosumi_prefect.vocabulary import instance_namespace, spooler_name

PORT_ANSWER_SECONDS = 3.0  # seconds for the cluster's port
RAY_JOIN_SECONDS = 60.0  # seconds; joining a cluster takes 8 on two cores
NAME = spooler_name(PROTOCOL)
START = "start a kodosumi-ray worker, or run `kodosumi-prefect spool start`"

# Ray compares its own version and Python's when it joins, and refuses with both in one line. The
# second argument is the namespace of the database; empty, there is no Spooler to look for.
JOIN = """
import json, sys
import ray
address, space, name = sys.argv[1:]
try:
    ray.init(address=address, namespace="kodosumi-doctor", configure_logging=False,
             log_to_driver=False)
    alive = [node for node in ray.nodes() if node["Alive"]]
    facts = {"nodes": len(alive), "cpus": ray.cluster_resources().get("CPU", 0)}
    if space:
        try:
            actor = ray.get_actor(name, namespace=space)
            facts["spooler"] = ray.get(actor.about.remote(), timeout=10)
        except ValueError:
            facts["spooler"] = {}
        except ray.exceptions.RayError as exc:
            facts["spooler"] = {"error": " ".join(str(exc).split()) or type(exc).__name__}
    ray.shutdown()
except Exception as exc:
    facts = {"error": " ".join(str(exc).split()) or type(exc).__name__}
print("\\n" + json.dumps(facts))
"""


def check_ray(settings: Settings) -> list[Finding]:
    """About the cluster that is configured or recorded, and its Spooler; joins it, starts none."""
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
    facts = _join(settings, address, _instance(settings))
    here = f"Ray {version('ray')}, Python {platform.python_version()}"
    if (error := facts.get("error")) is None:
        size = f"{facts['nodes']} nodes, {facts['cpus']:g} CPUs"
        cluster = ok("ray", f"{address} accepts {here}; {size}")
        spooler = facts.get("spooler")
        return [cluster] if spooler is None else [cluster, _spooler(spooler)]
    if "ersion mismatch" in error:
        remedy = "install the cluster's Ray, and the minor version of its Python"
        return [fail("ray", f"{address} refuses {here}: {error[:300]}", remedy)]
    if is_stillborn(error):
        text = f"{address} started a server for this client that ended at once"
        return [
            warn("ray", text, "try again; if it persists, see ray_client_server*.err on the head")
        ]
    return [fail("ray", f"{address} refuses: {error[:300]}", "start it or correct ray_address")]


def _refusal(address: str) -> str | None:
    """Why the cluster's port takes no connection; joining one that is not there takes long."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        if parts.hostname is None or parts.port is None:
            return None  # such as `auto`
        socket.create_connection((parts.hostname, parts.port), PORT_ANSWER_SECONDS).close()
    except (OSError, ValueError) as exc:
        return f"does not answer: {one_line(exc)}"
    return None


def _instance(settings: Settings) -> str:
    """The id of the database, which names its Spooler; empty if it does not answer."""
    try:
        url = database_url(settings)
    except DatabaseUrlError:
        return ""  # the checks of the database say so
    if url is None:
        return ""
    spooler = Spooler(url, settings.database_schema)
    try:
        spooler.connect()
    except (psycopg.Error, ProtocolError):
        return ""  # the checks of the database say why
    finally:
        spooler.close()
    return spooler.instance or ""


def _spooler(about: dict[str, Any]) -> Finding:
    if not about:
        text = "the cluster has none: each Ray process opens its own Postgres connection"
        return warn("spooler", text, START)
    if (error := about.get("error")) is not None:
        remedy = f"end the actor {NAME} with `ray.kill`; then {START}"
        return fail("spooler", f"it does not answer: {error[:300]}", remedy)
    text = (
        f"version {about['version']}, protocol {about['protocol']} on {about['host']}: "
        f"{about['clients']} clients, {about['connections']} connections"
    )
    if about["version"] != VERSION:
        return warn("spooler", f"{text}; {VERSION} here", "install one version in the cluster")
    if about["spilled_bytes"]:
        text += f"; {about['spilled_bytes'] / 1_000_000:.1f} MB wait in clients' files"
    return ok("spooler", text)


def _join(settings: Settings, address: str, instance: str) -> dict[str, Any]:
    space = instance_namespace(instance) if instance else ""
    environment = inherited_environment() | ray_client_environment(settings)
    with subprocess.Popen(
        [sys.executable, "-c", JOIN, address, space, NAME],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=RAY_JOIN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return {"error": f"no answer within {RAY_JOIN_SECONDS:g} s"}
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    lines = output.strip().splitlines()
    try:
        facts: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"error": f"joining ended with exit code {process.returncode}"}
    return facts
