"""Whether what the panel depends on answers, each within a short time."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
from prefect.settings import get_current_settings

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.settings import read_address

PROBE_ANSWER_SECONDS = 3.0  # seconds for one answer; a probe must not hang

Report = dict[str, Any]


async def bounded(check: Awaitable[Report], seconds: float | None = None) -> Report:
    """What ``check`` finds, or why it does not answer.

    Arguments:
        seconds: to wait; default ``PROBE_ANSWER_SECONDS``.
    """
    patience = PROBE_ANSWER_SECONDS if seconds is None else seconds
    try:
        async with asyncio.timeout(patience):
            return await check
    except TimeoutError:
        return {"status": "down", "detail": f"no answer within {patience:g} s"}
    except (psycopg.OperationalError, httpx.HTTPError, OSError) as exc:
        lines = str(exc).strip().splitlines()
        return {"status": "down", "detail": lines[0] if lines else type(exc).__name__}


async def postgres(panel: State) -> Report:
    """That it answers, and which version it is."""
    [version] = await panel.reader.values("server")
    return {"status": "ok", "version": version, "schema": panel.reader.queries.schema}


async def prefect(panel: State) -> Report:
    """Whether the configured API answers us, and its version if it reports one."""
    access = prefect_access(panel.settings)
    if access is None:
        return {"status": "not configured"}
    # Not /health, which a server answers whoever asks.
    async with httpx.AsyncClient(timeout=PROBE_ANSWER_SECONDS, trust_env=False) as client:
        answer = await client.get(f"{access.url}/admin/version", headers=access.headers)
    report: Report = {"status": "ok", "url": access.url}
    if answer.status_code >= 500:
        detail = f"GET /admin/version answered {answer.status_code}"
        return report | {"status": "down", "detail": detail}
    if answer.status_code in (401, 403) and not _signs_in_otherwise():
        detail = f"it answers {answer.status_code}: set PREFECT_API_AUTH_STRING"
        return report | {"status": "down", "detail": detail}
    if answer.status_code == 200 and "json" in answer.headers.get("content-type", ""):
        report["version"] = answer.json()
    return report


def _signs_in_otherwise() -> bool:
    """Whether Prefect's clients send what this module does not: an API key, or a proxy's login."""
    configured = get_current_settings()
    return configured.api.key is not None or bool(configured.client.custom_headers)


async def ray(panel: State) -> Report:
    """Whether the known cluster's port takes connections; joining it would cost 8 seconds."""
    recorded = read_address(panel.settings, "ray")
    address = panel.settings.ray_address or (recorded or {}).get("address")
    if not address:
        return {"status": "not configured"}
    parts = urlsplit(address if "//" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        return {"status": "unknown", "address": address}
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.close()
    report: Report = {"status": "ok", "address": address}
    if recorded and "nodes" in recorded:
        report["nodes"] = recorded["nodes"]
    return report


def mounted(panel: State) -> Report:
    """The services of this process: how many run, and why the others do not."""
    failed = panel.services.failed
    all_ = len(panel.services.mounted)
    return {
        "status": "failed" if failed else "ok" if all_ else "none",
        "detail": f"{all_ - len(failed)} of {all_} services",
        "failed": failed,
    }


def versions() -> dict[str, str]:
    """Of the packages that matter; blocks."""
    from importlib.metadata import PackageNotFoundError, version

    by_name = {}
    for name in ("prefect", "ray", "fastapi", "psycopg"):
        try:
            by_name[name] = version(name)
        except PackageNotFoundError:
            continue
    return by_name
