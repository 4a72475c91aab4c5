"""Checks of Prefect: its REST API, its events socket, its work pools, its clock."""

import asyncio
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import prefect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import WorkPoolStatus
from prefect.events.clients import get_events_subscriber
from prefect.exceptions import PrefectException

from kodosumi_prefect.addresses import PrefectAccess
from kodosumi_prefect.cli.doctor.finding import Finding, fail, ok, one_line, skew, warn
from kodosumi_prefect.cli.output import CommandError, require_prefect
from kodosumi_prefect.settings import Settings

PREFECT_ANSWER_SECONDS = 8.0  # seconds for each answer
CLOCK = 3.0  # seconds of skew that do no harm; HTTP tells whole ones


async def check_prefect(settings: Settings) -> list[Finding]:
    """All findings about Prefect; one that is not there has only one."""
    try:
        access = require_prefect(settings)
    except CommandError as exc:
        text, _, remedy = str(exc).partition("; ")
        return [fail("prefect", text, remedy)]
    url = access.url
    with access.in_force():
        dates: list[float] = []

        async def note_date(response: httpx.Response) -> None:
            if (date := response.headers.get("date")) is not None:
                dates.append(parsedate_to_datetime(date).timestamp() - time.time())

        try:
            async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
                async with get_client(
                    httpx_settings={"event_hooks": {"response": [note_date]}}
                ) as client:
                    findings = [_version(url, await client.api_version())]
                    findings.append(await _work_pools(client))
        except (TimeoutError, httpx.HTTPError, PrefectException, OSError, ValueError) as exc:
            return [fail("prefect", *_refusal(url, exc))]
        findings += await _open_to_all(access)
        findings.append(await _events(url))
        if dates:
            # The header is cut to whole seconds: on average half a second behind.
            findings.append(skew("clock", -(max(dates) + 0.5), "Prefect", CLOCK))
    return findings


def _version(url: str, server: str) -> Finding:
    mine = prefect.__version__
    if server.split(".")[:2] == mine.split(".")[:2]:
        return ok("prefect", f"Prefect {server} at {url}")
    text = f"Prefect {server} at {url}, {mine} here"
    if [int(n) for n in server.split(".")[:2]] < [int(n) for n in mine.split(".")[:2]]:
        return warn("prefect", text, "a server should not be older than its clients: upgrade it")
    return ok("prefect", text)


def _refusal(url: str, exc: Exception) -> tuple[str, str]:
    response: Any = getattr(exc, "response", None)
    if response is not None and response.status_code in (401, 403):
        return (
            f"{url} answers {response.status_code}",
            "set PREFECT_API_AUTH_STRING, or PREFECT_API_KEY for Prefect Cloud",
        )
    if response is not None and response.status_code == 404:
        return f"{url} is not Prefect's API", "PREFECT_API_URL usually ends in /api"
    reason = (
        f"no answer within {PREFECT_ANSWER_SECONDS:g} s"
        if isinstance(exc, TimeoutError)
        else one_line(exc)
    )
    return f"{url} does not answer: {reason}", "start it or correct PREFECT_API_URL"


async def _open_to_all(access: PrefectAccess) -> list[Finding]:
    """A warning if the API needs no authentication: anybody can run code in our work pools."""
    try:
        async with httpx.AsyncClient(timeout=PREFECT_ANSWER_SECONDS) as client:
            answer = await client.post(f"{access.url}/work_pools/filter", json={"limit": 1})
    except httpx.HTTPError:
        return []  # it has just answered; a proxy may cut off who has no login
    if answer.status_code != 200 or not answer.headers.get("content-type", "").startswith(
        "application/json"
    ):
        return []
    return [
        warn(
            "prefect",
            f"{access.url} has no authentication: who reaches it can run code in its work pools",
            "start it with PREFECT_SERVER_API_AUTH_STRING=user:password and set "
            "PREFECT_API_AUTH_STRING to the same for workers, panel, observer and flows",
        )
    ]


async def _work_pools(client: PrefectClient) -> Finding:
    pools = await client.read_work_pools(limit=200)
    if not pools:
        return warn(
            "work pools",
            "none exists, so no worker can run deployments",
            "run `prefect work-pool create kodosumi --type process`, or `kodosumi-prefect up`",
        )
    names = ", ".join(f"{pool.name} ({pool.type})" for pool in pools[:5])
    names += f" and {len(pools) - 5} more" if len(pools) > 5 else ""
    if all(pool.status is WorkPoolStatus.NOT_READY for pool in pools):
        text = f"{names}: no worker is online"
        return warn("work pools", text, f"run `prefect worker start --pool {pools[0].name}`")
    return ok("work pools", names)


async def _events(url: str) -> Finding:
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS):
            async with get_events_subscriber(reconnection_attempts=0):
                pass
    except Exception as exc:  # Prefect raises bare ones when it is refused
        reason = (
            f"no answer in {PREFECT_ANSWER_SECONDS:g} s"
            if isinstance(exc, TimeoutError)
            else one_line(exc)
        )
        return warn(
            "events",
            f"the events socket of {url} does not answer: {reason}",
            "let websockets through your proxy; until then states come late",
        )
    return ok("events", "the events socket answers")
