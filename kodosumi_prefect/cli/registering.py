"""``--register``: sources of services that are registered once the panel is up."""

import asyncio
import platform
import time
from collections.abc import Callable, Sequence

import psycopg

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.cli.audited import user_name
from kodosumi_prefect.panel.audit.entry import Actor, public_url
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.audit.recorded_actions import Outcome
from kodosumi_prefect.panel.audit.trail import write
from kodosumi_prefect.panel.services import actions
from kodosumi_prefect.panel.services.register import sources
from kodosumi_prefect.panel.services.register.fetching import client, fetch
from kodosumi_prefect.panel.services.register.reading import SourceError
from kodosumi_prefect.panel.web.state import State

PATIENCE = 60.0  # seconds for a service that starts beside the panel


async def register_sources(
    panel: State,
    urls: Sequence[str],
    say: Callable[[str], None],
    patience: float = PATIENCE,
) -> None:
    """Register sources as ``POST /flow/register`` does, each once it answers; say how it went.

    Arguments:
        say: gets one line for each source.
        patience: seconds to wait for one that does not answer; it is registered all the same
            then, and read again regularly.
    """

    async def one(url: str) -> None:
        await _wait_for(url, patience)
        say(await _registered(panel, url))

    await asyncio.gather(*(one(url) for url in dict.fromkeys(urls)))


async def _wait_for(url: str, patience: float) -> None:
    """Return once the source answers, needs correction, or ``patience`` has run out."""
    deadline = time.monotonic() + patience
    pauses = Backoff(0.2, 2.0)
    async with client() as http:
        while True:
            try:
                await fetch(http, sources.checked(url))
            except SourceError as exc:
                left = deadline - time.monotonic()
                if (exc.away or exc.missing) and left > 0:
                    await asyncio.sleep(min(pauses.next(), left))
                    continue
            return


async def _registered(panel: State, url: str) -> str:
    """Register one source; how it went, in one line."""
    address = public_url(url.strip())
    journal = Journal()
    try:
        added = await actions.register(panel, [url], journal)
    except psycopg.Error as exc:
        added = None
        why = " ".join(str(exc).split()) or type(exc).__name__
    for entry in journal.entries:
        entry.actor, entry.means, entry.address = Actor(None, user_name()), "cli", platform.node()
        if added is None:
            entry.outcome = Outcome.FAILED
    await write(panel.reader, journal.entries)
    if added is None:
        return f"not registered {address}: {why}"
    trouble = added.failed.get(url)
    if trouble is not None and url not in added.kept:
        return f"not registered {address}: {trouble}"
    count = len(added.endpoints)
    if count:
        return f"registered {address}: {count} {'endpoint' if count == 1 else 'endpoints'}"
    interval = f"{panel.settings.register_interval:g} s"
    return f"registered {address}: {trouble or 'no endpoints'}; it is read again every {interval}"
