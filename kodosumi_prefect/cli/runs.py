"""``tail``, ``runs`` and ``cancel``: executions in the terminal."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

from rich.text import Text

from kodosumi_prefect.cli.audited import audited_at
from kodosumi_prefect.cli.output import (
    CommandError,
    console,
    errors,
    print_event,
    require_database,
    with_prefect,
)
from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.executions import cancellation
from kodosumi_prefect.settings import get_settings, listen_url
from kodosumi_prefect.stream.feed import End, Feed, Quiet, Reset
from kodosumi_prefect.stream.listing import Filter
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import StoredExecution

_COLOURS = {"finished": "green", "error": "red", "running": "cyan", "awaiting": "yellow"}


def tail(fid: UUID, *, after: int = 0, raw: bool = False) -> int:
    """Follow an execution's events until it is over.

    A lost connection is resumed where it broke. Ctrl-C prints how to continue later. The exit
    code is 0 if the run finished, 1 if it failed.

    Parameters
    ----------
    fid
        The execution: the id of its Prefect flow run.
    after
        Start behind this event.
    raw
        One JSON object per line instead of text for people.
    """
    return asyncio.run(_tail(str(fid), after, raw))


def runs(*, query: str = "", limit: int = 20) -> None:
    """List executions, newest first.

    Parameters
    ----------
    query
        Words that must all begin a word of fid, name, summary, status, owner, tags or inputs.
    limit
        How many.
    """
    rows = asyncio.run(_rows(query, limit))
    if not rows:
        console.print("no executions" + (f" with {query!r}" if query else " yet"), markup=False)
        return
    for row in rows:
        began = (row.started_at or row.created_at).astimezone()
        line = Text(f"{began:%m-%d %H:%M:%S}  ")
        line.append(f"{row.status:<9}", style=_COLOURS.get(row.status, "white"))
        line.append(f" {_runtime(row):>10}  ")
        line.append(row.summary or row.flow_name or "", style="bold")
        if row.attempt > 1:
            line.append(f"  attempt {row.attempt}", style="yellow")
        if row.status == "error" and row.error:
            line.append(f"  {row.error}", style="red")
        console.print(line, no_wrap=True, overflow="ellipsis")
        console.print(Text(f"  {row.fid}", style="dim"))


def cancel(fid: UUID) -> None:
    """Cancel an execution; its record is kept.

    Parameters
    ----------
    fid
        The execution: the id of its Prefect flow run.
    """

    async def ask() -> str:
        try:
            state = await cancellation.cancel(fid, "Cancelled by kodosumi-prefect cancel.")
        except LookupError as exc:
            raise CommandError(str(exc)) from exc
        await audited_at(get_settings(), Action.CANCEL, Target("execution", str(fid)))
        return state

    console.print(f"{fid}: {asyncio.run(with_prefect(ask))}", markup=False)


async def _tail(fid: str, after: int, raw: bool) -> int:
    settings = get_settings()
    url = require_database(settings)
    seen = after
    status = ""
    try:
        async with (
            Reader(url, settings.database_schema, 2) as reader,
            Feed(reader, listen_url(settings) or url) as feed,
        ):
            if await reader.status(fid) is None:
                errors.print(f"waiting for {fid} to start", style="dim")
            async for item in feed.subscribe(fid, after):
                if isinstance(item, Quiet):
                    continue
                if isinstance(item, Reset):
                    errors.print(
                        f"the stream has only {item.last_seq} events; starting at 1",
                        style="yellow",
                    )
                elif isinstance(item, End):
                    break
                else:
                    seen = item.seq
                    if item.kind == "status":
                        status = item.payload
                    if raw:
                        line = item._asdict()
                        console.out(json.dumps(line, ensure_ascii=False), highlight=False)
                    else:
                        print_event(item)
            if not status:
                row = await reader.status(fid)
                status = row.status if row else ""
    except (KeyboardInterrupt, asyncio.CancelledError):
        errors.print(f"\ncontinue with: kodosumi-prefect tail {fid} --after {seen}")
        return 130
    return 0 if status == "finished" else 1


async def _rows(query: str, limit: int) -> list[StoredExecution]:
    settings = get_settings()
    async with Reader(require_database(settings), settings.database_schema, 1) as reader:
        return await reader.timeline(filter_=Filter(clean(query)), limit=limit)


def _runtime(row: StoredExecution) -> str:
    began = row.started_at
    if began is None:
        return ""
    seconds = ((row.ended_at or datetime.now(UTC)) - began).total_seconds()
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f} m {rest:02.0f} s" if minutes else f"{rest:.1f} s"
