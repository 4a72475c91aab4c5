"""``tail``, ``runs``, ``cancel`` and ``retry``: executions in the terminal."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from rich.text import Text

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.cli.audited import audited_at
from kodosumi_prefect.cli.executions import SHORT, whole_id
from kodosumi_prefect.cli.options import Output
from kodosumi_prefect.cli.output import (
    CommandError,
    console,
    errors,
    print_event,
    require_database,
    with_prefect,
)
from kodosumi_prefect.cli.tables import print_json, print_table
from kodosumi_prefect.events import Status, clean
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.executions import cancellation, retrying
from kodosumi_prefect.settings import Settings, get_settings, listen_url, panel_url
from kodosumi_prefect.spans.amounts import taken
from kodosumi_prefect.stream.feed import End, Feed, Quiet, Reset
from kodosumi_prefect.stream.listing import Filter
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import StoredExecution

_COLOURS = {"finished": "green", "error": "red", "running": "cyan", "awaiting": "yellow"}
_WIDE = 120  # columns from which ids are shown whole
_SPAN = re.compile(r"(\d+)\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def tail(fid: str, *, after: int = 0, raw: bool = False, wait: bool = False) -> int:
    """Follow an execution's events until it is over.

    A lost connection is resumed where it broke. Ctrl-C prints how to continue later. The exit
    code is 0 if the run finished, 1 if it failed.

    Parameters
    ----------
    fid
        The execution: the id of its Prefect flow run, or its first digits.
    after
        Start behind this event.
    raw
        One JSON object per line instead of text for people.
    wait
        Wait for a run that nobody knows yet, instead of saying so.
    """
    return asyncio.run(_tail(fid, after, raw, wait))


def runs(
    *,
    query: str = "",
    status: Annotated[tuple[Status, ...], Parameter(negative=())] = (),
    tag: str | None = None,
    flow: str | None = None,
    since: str | None = None,
    limit: int = 20,
    output: Output = "text",
) -> None:
    """List executions, newest first.

    Parameters
    ----------
    query
        Words that must all begin a word of fid, name, summary, status, owner, tags or inputs.
    status
        Any of these; repeatable.
    tag
        One of its tags.
    flow
        Name of its flow.
    since
        Recorded then or later: a span such as 90m, 24h or 7d, or a time in ISO 8601.
    limit
        How many.
    """
    criteria = Filter(
        clean(query), tuple(map(str, status)), flow=flow, tag=tag, since=_moment(since)
    )
    rows = asyncio.run(_rows(criteria, limit))
    if output == "json":
        print_json([_described(row) for row in rows])
        return
    if not rows:
        narrowed = criteria != Filter()
        console.print("no executions" + (" match" if narrowed else " yet"), markup=False)
        return
    settings = get_settings()
    whole = console.width >= _WIDE or not console.is_terminal
    models = any(map(_taken, rows))
    print_table(
        ["began", "status", "took", *(["models"] if models else []), "id", "what"],
        [_cells(row, settings, whole, models) for row in rows],
        whole=["began", "status", "took", "id"],
    )


def cancel(fid: str) -> None:
    """Cancel an execution; its record is kept.

    Parameters
    ----------
    fid
        The execution: the id of its Prefect flow run, or its first digits.
    """

    async def ask() -> tuple[str, str]:
        settings = get_settings()
        whole = await _known_id(settings, fid)
        state = await cancellation.cancel(UUID(whole), "Cancelled by kodosumi-prefect cancel.")
        await audited_at(settings, Action.CANCEL, Target("execution", whole))
        return whole, state

    whole, state = asyncio.run(with_prefect(ask))
    console.print(f"{whole}: {state}", markup=False)


def retry(fid: str) -> None:
    """Have a run that is over begin anew as its next attempt, as Prefect's own "Retry" does.

    Parameters
    ----------
    fid
        The execution: the id of its Prefect flow run, or its first digits.
    """

    async def ask() -> tuple[str, str]:
        settings = get_settings()
        whole = await _known_id(settings, fid)
        state = await retrying.retry(UUID(whole), "Retried by kodosumi-prefect retry.")
        await audited_at(settings, Action.RETRY, Target("execution", whole))
        return whole, state

    whole, state = asyncio.run(with_prefect(ask))
    console.print(f"{whole}: {state}", markup=False)


async def _known_id(settings: Settings, typed: str) -> str:
    """A whole id; what is one already needs no database."""
    try:
        return str(UUID(typed))
    except ValueError:
        pass
    async with Reader(require_database(settings), settings.database_schema, 1) as reader:
        return await whole_id(reader, typed)


async def _tail(typed: str, after: int, raw: bool, wait: bool) -> int:
    settings = get_settings()
    url = require_database(settings)
    seen = after
    status = ""
    fid = typed
    try:
        async with (
            Reader(url, settings.database_schema, 2) as reader,
            Feed(reader, listen_url(settings) or url) as feed,
        ):
            fid = await whole_id(reader, typed)
            if await reader.status(fid) is None:
                if not wait:
                    await _require_run(settings, fid)
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


async def _require_run(settings: Settings, fid: str) -> None:
    """See that Prefect has a run which is not recorded yet.

    Raises:
        CommandError: it has none, or there is no Prefect to ask.
    """
    unknown = (
        f"there is no execution {fid}; `kodosumi-prefect runs` lists them, --wait waits for it"
    )
    access = prefect_access(settings)
    if access is None:
        raise CommandError(unknown)
    with access.in_force():
        async with get_client() as client:
            try:
                await client.read_flow_run(UUID(fid))
            except ObjectNotFound:
                raise CommandError(unknown) from None


async def _rows(criteria: Filter, limit: int) -> list[StoredExecution]:
    settings = get_settings()
    async with Reader(require_database(settings), settings.database_schema, 1) as reader:
        return await reader.timeline(filter_=criteria, limit=limit)


def _moment(since: str | None) -> float | None:
    """Epoch seconds of what was typed.

    Raises:
        CommandError: it is neither a span nor a time.
    """
    if since is None:
        return None
    if span := _SPAN.fullmatch(since.strip().lower()):
        unit = _UNITS[span[2]]
        return (datetime.now(UTC) - timedelta(**{unit: int(span[1])})).timestamp()
    try:
        return datetime.fromisoformat(since).astimezone().timestamp()
    except ValueError:
        raise CommandError(
            f"--since {since!r} is neither a span such as 90m, 24h or 7d, nor a time in ISO 8601"
        ) from None


def _cells(
    row: StoredExecution, settings: Settings, whole: bool, models: bool
) -> Sequence[str | Text]:
    began = (row.started_at or row.created_at).astimezone()
    page = f"{panel_url(settings)}/executions/{row.fid}"
    title = Text(row.summary or row.flow_name or "", style="bold")
    if row.attempt > 1:
        title.append(f"  attempt {row.attempt}", style="yellow")
    if row.status == "error" and row.error:
        title.append(f"  {' '.join(row.error.split())}", style="red")
    return [
        f"{began:%m-%d %H:%M:%S}",
        Text(row.status, style=_COLOURS.get(row.status, "white")),
        Text(_runtime(row), justify="right"),
        *([_taken(row) or ""] if models else []),
        Text(row.fid if whole else row.fid[:SHORT], style=f"link {page}"),
        title,
    ]


def _described(row: StoredExecution) -> dict[str, object]:
    """A row for programs: envelopes as objects, times in ISO 8601."""
    fields = asdict(row)
    for name in ("inputs", "final", "progress"):
        fields[name] = json.loads(fields[name]) if fields[name] else None
    moments = {name: value.isoformat() for name, value in fields.items() if hasattr(value, "hour")}
    return fields | moments


def _taken(row: StoredExecution) -> str | None:
    return taken(row.cost, row.input_tokens, row.output_tokens, row.unpriced_calls)


def _runtime(row: StoredExecution) -> str:
    began = row.started_at
    if began is None:
        return ""
    seconds = ((row.ended_at or datetime.now(UTC)) - began).total_seconds()
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f} m {rest:02.0f} s" if minutes else f"{rest:.1f} s"
