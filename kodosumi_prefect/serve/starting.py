"""What a service says when it starts: what it lacks to be called and to launch."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import ValidationError

from kodosumi_prefect.addresses import NoPrefectError, require_prefect_access
from kodosumi_prefect.keys import NoKeyError, run_keys
from kodosumi_prefect.settings import (
    PREFIX,
    DatabaseUrlError,
    Settings,
    database_url,
    get_settings,
    kodosumi_notes,
    panel_url,
    read_address,
)

logger = logging.getLogger(__name__)

# Whether the service runs in a panel's own process, which has what a launch needs.
in_panel: ContextVar[bool] = ContextVar("kodosumi_in_panel", default=False)

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def telling(lifespan: Lifespan, name: str) -> Lifespan:
    """``lifespan`` of a service of this name, before which it logs what it lacks."""

    @asynccontextmanager
    async def told(app: Any) -> AsyncIterator[Any]:
        for line in lines():
            logger.warning("service %s: %s", name, line)
        async with lifespan(app) as state:
            yield state

    return told


def lines() -> list[str]:
    """What the service lacks here and now, one line each; never raises for what is wrong."""
    found: list[str] = []
    if not in_panel.get():
        try:
            found += [*kodosumi_notes(), *lacking(get_settings())]
        except (ValidationError, ValueError) as exc:
            found.append(f"its settings cannot be read: {' '.join(str(exc).split())[:300]}")
    return found


def lacking(settings: Settings) -> list[str]:
    """What a service outside the panel's process lacks, one line each."""
    found: list[str] = []
    try:
        require_prefect_access(settings)
    except NoPrefectError as exc:
        found.append(f"no launch starts: {exc}")
    if not settings.trusted_networks and not _knows_its_panel(settings):
        found.append(
            f"{PREFIX}PANEL_URL is not set and no panel is known in {settings.data_dir}; who "
            f"calls, and the key that proves it, are looked for at {panel_url(settings)}"
        )
    try:
        run_keys(settings)
    except NoKeyError as exc:
        found.append(f"launches for somebody are refused: {exc} ({PREFIX}SECRET_KEY)")
    try:
        if database_url(settings) is None:
            found.append(
                f"{PREFIX}DATABASE_URL is not set and no `kodosumi-prefect up` runs for "
                f"{settings.data_dir}; launches with passwords or large inputs, and schedules, "
                "are refused"
            )
    except DatabaseUrlError as exc:
        found.append(
            f"launches with files, passwords or large inputs, and schedules, are refused: {exc}"
        )
    return found


def _knows_its_panel(settings: Settings) -> bool:
    named = settings.model_fields_set & {"panel_url", "host", "port"}
    return bool(named) or read_address(settings, "panel") is not None
