"""``token``: what lets a process elsewhere record into one execution."""

import asyncio
import os

from kodosumi_prefect.cli.audited import audited_at
from kodosumi_prefect.cli.executions import whole_id
from kodosumi_prefect.cli.output import CommandError, console, errors
from kodosumi_prefect.cli.panel_client import Panel
from kodosumi_prefect.client.async_client import KEY_VARIABLE
from kodosumi_prefect.files.tokens import MOST_MINUTES, token_for
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.settings import PREFIX, Settings, database_url, get_settings, panel_url
from kodosumi_prefect.stream.reader import Reader

DAY = 1440.0  # minutes


def token(fid: str, *, minutes: float = DAY) -> None:
    """Print a token with which a process elsewhere records into an execution, through the panel.

    It opens the events and the files of this execution only, until an hour after its end. It is
    made with the key of the data dir; if KODOSUMI_API_KEY is set, the panel is asked for it.

    Parameters
    ----------
    fid
        The execution: the id of its Prefect flow run, or the first digits of one that is recorded.
    minutes
        How long it is good for, 30 days at most.
    """
    if not 0 < minutes <= MOST_MINUTES:
        raise CommandError(f"--minutes is {minutes:g}; at most {MOST_MINUTES:,}, and more than 0")
    settings = get_settings()
    if os.environ.get(KEY_VARIABLE):
        with Panel(settings) as panel:
            made = panel.ask("POST", f"/outputs/{fid}/token", json={"minutes": minutes})
        text, url = str(made["token"]), str(made["panel_url"])
    else:
        text, url = asyncio.run(_made(settings, fid, minutes)), panel_url(settings)
    console.out(text, highlight=False)
    errors.print(
        f"for the process: {PREFIX}RUN_TOKEN is this token, {PREFIX}PANEL_URL is {url}",
        style="dim",
        soft_wrap=True,
    )


async def _made(settings: Settings, typed: str, minutes: float) -> str:
    fid = typed
    if (url := database_url(settings)) is not None:
        async with Reader(url, settings.database_schema, 1) as reader:
            fid = await whole_id(reader, typed)
    elif len(typed) != 36:
        raise CommandError("without a database, the whole id of the flow run is needed")
    try:
        made = token_for(fid, settings, minutes)
    except NoKeyError as exc:
        raise CommandError(f"{exc}; or set {KEY_VARIABLE}, and the panel makes it") from exc
    await audited_at(settings, Action.RUN_TOKEN, Target("execution", fid), minutes=minutes)
    return made
