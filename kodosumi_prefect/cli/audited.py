"""Recording what is done from the command line, as the user of the operating system."""

import getpass
import platform
from typing import Any

from kodosumi_prefect.cli.output import errors
from kodosumi_prefect.panel.audit.entry import Actor, Entry, Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.trail import write
from kodosumi_prefect.settings import Settings, database_url
from kodosumi_prefect.stream.reader import Reader


async def audited(reader: Reader, action: Action, target: Target | None, **details: Any) -> None:
    """Record an action; print a warning if that fails, as the command itself is done."""
    actor = Actor(None, user_name())
    entry = Entry(action, target, actor=actor, means="cli", address=platform.node())
    entry.details = details
    if await write(reader, [entry]):
        errors.print(
            "this action is not recorded in the audit; the line above says why", style="yellow"
        )


async def audited_at(
    settings: Settings, action: Action, target: Target | None, **more: Any
) -> None:
    """As ``audited``, for commands that have no reader; nothing without a database."""
    if (url := database_url(settings)) is not None:
        async with Reader(url, settings.database_schema, 1) as reader:
            await audited(reader, action, target, **more)


def user_name() -> str:
    """The user of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "?"  # of a container's uid that nobody has
