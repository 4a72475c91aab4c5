"""Probes: whether the process lives, whether it can serve, and how everything around it is."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, Response

from kodosumi_prefect.panel import observers, spoolers
from kodosumi_prefect.panel.answers import Health
from kodosumi_prefect.panel.jinja import package_version
from kodosumi_prefect.panel.prefect_api import api_url
from kodosumi_prefect.panel.problems import answers
from kodosumi_prefect.panel.state import Panel, State
from kodosumi_prefect.settings import read_address

PATIENCE = 3.0  # seconds for one answer; a probe must not hang

Found = dict[str, Any]

logger = logging.getLogger(__name__)
router = APIRouter(tags=["Health"])


@router.get("/livez", summary="The process")
async def livez() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "alive"}


@router.get("/readyz", summary="The process and its Postgres")
async def readyz(panel: Panel) -> dict[str, str]:
    """503 while Postgres does not answer."""
    found = await _bounded(_postgres(panel))
    if found["status"] != "ok":
        raise HTTPException(503, f"Postgres: {found['detail']}")
    return {"status": "ready"}


@router.get(
    "/health",
    summary="Everything around the panel",
    responses=answers(Health) | answers(Health, 503),
)
async def health(panel: Panel) -> Response:
    """503 while Postgres, or the Prefect API that is configured, does not answer."""
    postgres, prefect, ray, actors, observer = await asyncio.gather(
        _bounded(_postgres(panel)),
        _bounded(_prefect(panel)),
        _bounded(_ray(panel)),
        _bounded(_spoolers(panel)),
        _bounded(observers.found(panel.reader)),
    )
    needed = {"postgres": postgres, "prefect": prefect}
    down = [name for name, part in needed.items() if part["status"] == "down"]
    body = {
        "status": "fail" if down else "ok",
        "down": down,
        "versions": {"kodosumi_prefect": package_version()} | await asyncio.to_thread(_versions),
        "postgres": postgres,
        "spooler": _spooler(panel) | {"actors": actors},
        "prefect": prefect,
        "ray": ray,
        "observer": observer,
    }
    return JSONResponse(body, 503 if down else 200)


async def _bounded(check: Awaitable[Found]) -> Found:
    try:
        async with asyncio.timeout(PATIENCE):
            return await check
    except TimeoutError:
        return {"status": "down", "detail": f"no answer within {PATIENCE:g} s"}
    except (psycopg.OperationalError, httpx.HTTPError, OSError) as exc:
        said = str(exc).strip().splitlines()
        return {"status": "down", "detail": said[0] if said else type(exc).__name__}


async def _postgres(panel: State) -> Found:
    row = (await panel.reader.rows("server"))[0]
    return {"status": "ok", "version": row["version"], "schema": panel.reader.queries.schema}


def _spooler(panel: State) -> Found:
    feed = panel.feed
    heard = "listening" if not feed.polling else "polling"
    return {
        "status": heard if feed.connected else "reconnecting",
        "subscribers": feed.subscribers,
        "streams": len(panel.streams),
    }


async def _spoolers(panel: State) -> Found:
    """Those of Ray clusters; a silent one stops nothing, its clients keep what they have."""
    return spoolers.health(await spoolers.spoolers(panel.reader))


async def _prefect(panel: State) -> Found:
    address = api_url(panel.settings)
    if address is None:
        return {"status": "not configured"}
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        answer = await client.get(f"{address}/health")
    if answer.status_code >= 500:
        detail = f"GET /health answered {answer.status_code}"
        return {"status": "down", "url": address, "detail": detail}
    return {"status": "ok", "url": address}


async def _ray(panel: State) -> Found:
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
    found: Found = {"status": "ok", "address": address}
    if recorded and "nodes" in recorded:
        found["nodes"] = recorded["nodes"]
    return found


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("prefect", "ray", "fastapi", "psycopg"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
