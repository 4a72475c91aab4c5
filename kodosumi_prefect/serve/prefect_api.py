"""Prefect's API for launches: one client an event loop, and few requests at a time."""

import asyncio
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectException, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from kodosumi_prefect.serve.refusal import LaunchError
from kodosumi_prefect.settings import Settings, read_address

AT_ONCE = 2  # requests under way; Prefect's SQLite takes writes one by one
PATIENCE = 60.0  # seconds that a launch waits for its turn and Prefect's answer


class _Link:
    """What one event loop has."""

    def __init__(self) -> None:
        self.clients: dict[str, PrefectClient] = {}
        self.connecting = asyncio.Lock()
        self.turns = asyncio.Semaphore(AT_ONCE)


_links: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Link]" = weakref.WeakKeyDictionary()


@asynccontextmanager
async def prefect_api(settings: Settings) -> AsyncIterator[PrefectClient]:
    """A connected client, once it is this caller's turn.

    Raises:
        LaunchError: no Prefect is configured, or it is away, busy for too long, or refuses what
            was asked; its words are in the message.
    """
    url = api_url(settings)
    link = _links.setdefault(asyncio.get_running_loop(), _Link())
    try:
        async with asyncio.timeout(PATIENCE), link.turns:
            yield await _client(link, url)
    except TimeoutError as exc:
        raise LaunchError(
            503, f"Prefect at {url} did not answer within {PATIENCE:.0f} s; try again"
        ) from exc
    except (PrefectHTTPStatusError, httpx.HTTPStatusError) as exc:
        raise LaunchError(502, f"Prefect at {url} refused it: {said_by(exc)}") from exc
    except ObjectNotFound:
        raise
    except (httpx.HTTPError, PrefectException, OSError) as exc:
        said = " ".join(str(exc).split()) or type(exc).__name__
        raise LaunchError(502, f"Prefect at {url} did not answer: {said[:200]}") from exc


def api_url(settings: Settings) -> str:
    """Where Prefect is, from its own settings or from what ``up`` wrote down.

    Raises:
        LaunchError: nobody said where.
    """
    configured = get_current_settings().api.url
    if configured is None and (recorded := read_address(settings, "prefect")) is not None:
        configured = recorded.get("api_url") or recorded.get("url")
    if not configured:
        raise LaunchError(
            502,
            "no Prefect is configured and none runs for "
            f"{settings.data_dir}; set PREFECT_API_URL or start `kodosumi-prefect up`",
        )
    found = str(configured).rstrip("/")
    return found if found.endswith("/api") or "/api/" in found else f"{found}/api"


def said_by(exc: httpx.HTTPStatusError) -> str:
    """What Prefect's server answered, in one line."""
    try:
        detail = exc.response.json().get("detail")
    except (ValueError, AttributeError):
        detail = None
    text = detail if isinstance(detail, str) else json.dumps(detail) if detail else str(exc)
    return " ".join(text.split())[:300]


async def _client(link: _Link, url: str) -> PrefectClient:
    async with link.connecting:
        if url not in link.clients:
            # Entered for as long as the process lives: connecting anew costs a launch 100 ms.
            with temporary_settings({PREFECT_API_URL: url}):
                link.clients[url] = await get_client().__aenter__()
        return link.clients[url]
