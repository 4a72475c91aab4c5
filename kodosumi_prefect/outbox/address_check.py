"""Whether deliveries to an address would be refused, as far as that is known as it is typed in."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from urllib.parse import urlsplit

from kodosumi_prefect.outbox.outside import Outside
from kodosumi_prefect.settings import PREFIX

PATIENCE = 2.0  # seconds for looking up a name; without an answer nothing is said
LOOKUPS = 4  # names that are looked up at the same time


async def refusal_of(url: str, allowed: Sequence[str]) -> str | None:
    """Why deliveries to an address would be refused, in one line; None if they would not.

    A name that is not known now says nothing: what counts is what it resolves to at each delivery.

    Arguments:
        url: as ``webhooks.checked_url`` has it.
        allowed: networks inside that are allowed, as far as this process is set to.
    """
    host = urlsplit(url).hostname or ""
    looking = asyncio.get_running_loop().run_in_executor(_names(), _addresses, host)
    try:
        async with asyncio.timeout(PATIENCE):
            addresses = await looking
    except (OSError, UnicodeError, TimeoutError):
        return None
    outside = Outside(allowed)
    if not addresses or any(address in outside for address in addresses):
        return None
    # Not which address: a name of the network's own is not looked up for everybody.
    return (
        f"{host} is inside the network, so nothing is sent there unless "
        f"{PREFIX}WEBHOOK_NETWORKS allows it where the observer runs"
    )


def _addresses(host: str) -> list[str]:
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


@cache
def _names() -> ThreadPoolExecutor:
    # Of its own, since a lookup that nobody answers holds its thread for long.
    return ThreadPoolExecutor(LOOKUPS, "addresses-of-webhooks")
