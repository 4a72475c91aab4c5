"""Prefect's API for launches: one client per event loop, and few requests at a time."""

import asyncio
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectException, PrefectHTTPStatusError

from kodosumi_prefect.addresses import (
    NoPrefectError,
    PrefectAccess,
    no_answer,
    require_prefect_access,
)
from kodosumi_prefect.launch.refusal import PrefectError, UnavailableLaunchError
from kodosumi_prefect.settings import Settings

AT_ONCE = 2  # requests under way; Prefect's SQLite takes writes one by one
PREFECT_ANSWER_SECONDS = 60.0  # seconds that a launch waits for its turn and Prefect's answer


class _Link:
    """What one event loop has."""

    def __init__(self) -> None:
        self.clients: dict[PrefectAccess, PrefectClient] = {}
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
    access = require_access(settings)
    link = _links.setdefault(asyncio.get_running_loop(), _Link())
    try:
        async with asyncio.timeout(PREFECT_ANSWER_SECONDS), link.turns:
            yield await _client(link, access)
    except TimeoutError as exc:
        late = no_answer(access, PREFECT_ANSWER_SECONDS)
        raise UnavailableLaunchError(f"{late}; try again") from exc
    except (PrefectHTTPStatusError, httpx.HTTPStatusError) as exc:
        raise PrefectError(
            f"Prefect at {access.url} refused the request: {server_message(exc)}"
        ) from exc
    except ObjectNotFound:
        raise
    except (httpx.HTTPError, PrefectException, OSError) as exc:
        raise PrefectError(no_answer(access, exc)) from exc


def require_access(settings: Settings) -> PrefectAccess:
    """The Prefect that counts (``kodosumi_prefect.addresses``).

    Raises:
        LaunchError: no Prefect is configured.
    """
    try:
        return require_prefect_access(settings)
    except NoPrefectError as exc:
        raise PrefectError(str(exc)) from None


def server_message(exc: httpx.HTTPStatusError) -> str:
    """The message of Prefect's server, in one line."""
    try:
        detail = exc.response.json().get("detail")
    except (ValueError, AttributeError):
        detail = None
    text = detail if isinstance(detail, str) else json.dumps(detail) if detail else str(exc)
    return " ".join(text.split())[:300]


async def _client(link: _Link, access: PrefectAccess) -> PrefectClient:
    async with link.connecting:
        if access not in link.clients:
            # Entered for as long as the process lives: connecting anew costs a launch 100 ms.
            with access.in_force():
                link.clients[access] = await get_client().__aenter__()
        return link.clients[access]
