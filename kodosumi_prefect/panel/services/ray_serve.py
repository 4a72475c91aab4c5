"""The applications of Ray Serve, as far as the panel knows where they run."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import httpx

from kodosumi_prefect.panel.services.register.fetching import client, fetch
from kodosumi_prefect.panel.services.register.reading import SourceError
from kodosumi_prefect.refusals import UpstreamError

DASHBOARD = "RAY_DASHBOARD_ADDRESS"  # Ray's own variable, as `serve status` reads it
APPLICATIONS = "/api/serve/applications/"

Application = dict[str, Any]


async def applications(routes: Sequence[str]) -> dict[str, Application]:
    """Ray Serve's applications by name: ``{name, status, message, route_prefix, deployments}``.

    Ray's dashboard tells of each how it is. Without one, those count that Serve's proxies route to,
    which run.

    Arguments:
        routes: registered URLs of Serve's ``/-/routes``.

    Raises:
        UpstreamError: one of these does not answer.
    """
    async with client() as http:
        try:
            if dashboard := os.environ.get(DASHBOARD):
                return await _reported(http, dashboard.rstrip("/"))
            known = await asyncio.gather(*(_routed(http, url) for url in routes))
        except SourceError as exc:
            raise UpstreamError(exc.detail) from exc
    return {name: one for each in known for name, one in each.items()}


async def _reported(http: httpx.AsyncClient, dashboard: str) -> dict[str, Application]:
    url = dashboard + APPLICATIONS
    answer = (await fetch(http, url)).document
    listed = answer.get("applications") if isinstance(answer, dict) else None
    if not isinstance(listed, dict):
        raise SourceError(f"{url} does not list applications as Ray's dashboard does")
    return {
        str(name): _application(
            str(name),
            str(one.get("status")),
            one.get("route_prefix"),
            str(one.get("message") or ""),
            {
                str(part): str(facts.get("status") if isinstance(facts, dict) else facts)
                for part, facts in (one.get("deployments") or {}).items()
            },
        )
        for name, one in listed.items()
        if isinstance(one, dict)
    }


async def _routed(http: httpx.AsyncClient, url: str) -> dict[str, Application]:
    answer = (await fetch(http, url)).document
    if not isinstance(answer, dict):
        raise SourceError(f"{url} does not list routes as Ray Serve does")
    return {
        str(name): _application(str(name), "RUNNING", str(prefix), "", {})
        for prefix, name in answer.items()
    }


def _application(
    name: str, status: str, prefix: str | None, message: str, deployments: dict[str, str]
) -> Application:
    return {
        "name": name,
        "status": status,
        "message": message,
        "route_prefix": prefix,
        "deployments": deployments,
    }
