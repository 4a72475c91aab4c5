"""A stretch of an execution's events, as one of its tabs shows it."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Query
from markupsafe import Markup

from kodosumi_prefect.error_line import line_of
from kodosumi_prefect.events import STDIO_KINDS, Kind, clean
from kodosumi_prefect.panel.html.render import origin, render
from kodosumi_prefect.panel.web.parameters import MAX_CURSOR
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.stream.reader import Origin, StoredEvent
from kodosumi_prefect.stream.rows import FoundText, StoredExecution

WINDOW = 10.0  # seconds that an event goes ahead at most of one that was stored before it
MAX_PAYLOAD = 20_000  # characters of a payload that the raw tab shows

Turn = Literal["next", "previous"]


class Pane(NamedTuple):
    """What a tab holds: events of these kinds, so many at a time."""

    kinds: tuple[str, ...]
    limit: int


PANES = {
    "output": Pane((Kind.RESULT, Kind.ERROR), 100),
    "reasoning": Pane(
        (Kind.AGENT, Kind.ACTION, Kind.RESULT, Kind.LOCK, Kind.LEASE, Kind.ERROR), 100
    ),
    "log": Pane(tuple(sorted(STDIO_KINDS)), 500),
    "raw": Pane(tuple(Kind), 200),
}


@dataclass(frozen=True, slots=True)
class PaneQuery:
    """Which stretch is wanted; the newest if nothing says otherwise."""

    before: int | None
    after: int | None
    around: int | None
    text: str
    start: int | None
    turn: Turn
    time: datetime | None
    kinds: frozenset[str]
    task_run: str | None


Seq = Annotated[int | None, Query(ge=0, le=MAX_CURSOR)]


async def pane_query(
    before: Seq = None,
    after: Seq = None,
    around: Seq = None,
    q: Annotated[str, Query(max_length=500)] = "",
    start: Seq = None,
    turn: Turn = "previous",
    time: Annotated[str, Query(max_length=40)] = "",
    kind: Annotated[list[str] | None, Query(max_length=40)] = None,
    task_run: Annotated[str | None, Query(max_length=1000)] = None,
) -> PaneQuery:
    """What a request's query says; what it says wrongly of ``time`` or ``kind`` is as unsaid."""
    return PaneQuery(
        before=before,
        after=after,
        around=around,
        text=clean(q),
        start=start,
        turn=turn,
        time=_moment(time),
        kinds=frozenset(kind or ()),
        task_run=clean(task_run) if task_run else None,
    )


async def stretch(panel: State, row: StoredExecution, name: str, wish: PaneQuery) -> dict[str, Any]:
    """The events that a tab shows, rendered, and how to come to those before and behind them.

    Of errors, the output holds those of earlier attempts; the newest one's stands above it.
    ``first`` and ``last`` are the seqs to ask with for more, None where there is none; ``match``
    is the event that a search or a time led to. But for raw ones, events stand in the order of
    their times: tasks that speak at once are stored one after the other.
    """
    pane, fid = PANES[name], row.fid
    kinds = [kind for kind in pane.kinds if kind in wish.kinds] or list(pane.kinds)
    position = await _position(panel, fid, kinds, wish)
    centre = position.get("match", wish.around)
    if centre is not None:
        half = pane.limit // 2
        ahead, more = await _before(panel, fid, kinds, centre, half, wish.task_run)
        behind, later = await _after(panel, fid, kinds, centre - 1, half, wish.task_run)
        events = ahead + behind
    elif wish.after is not None:
        events, later = await _after(panel, fid, kinds, wish.after, pane.limit, wish.task_run)
        ahead, more = await _before(panel, fid, kinds, wish.after + 1, 0, wish.task_run)
    else:
        before = MAX_CURSOR if wish.before is None else wish.before
        events, more = await _before(panel, fid, kinds, before, pane.limit, wish.task_run)
        later = wish.before is not None
    attempt = more.attempt if more is not None else 1
    drawn = events if name != "output" else [e for e in events if not _of_now(e, row.attempt)]
    # Many long texts take a while to render; other requests go on meanwhile.
    items = await asyncio.to_thread(lambda: list(_items(name, drawn, attempt)))
    return {
        "kind": name,
        "items": items,
        "first": events[0].seq if events and more is not None else None,
        "last": events[-1].seq if events and later else None,
        "kinds": kinds,
        "filtered": bool(wish.kinds & set(pane.kinds)),
        "text": wish.text,
        "time": wish.time,
        "task_run": wish.task_run,
        **position,
    }


async def _position(panel: State, fid: str, kinds: list[str], wish: PaneQuery) -> dict[str, Any]:
    """Where a search or a time leads to."""
    if wish.text:
        forwards = wish.turn == "next"
        start = wish.start if wish.start is not None else 0 if forwards else MAX_CURSOR
        [place] = await panel.reader.rows_of(
            FoundText,
            "find_text",
            fid=fid,
            kinds=kinds,
            text=wish.text,
            start=start,
            forwards=forwards,
        )
        counts = {"total": place.total, "number": place.number}
        return counts if place.seq is None else counts | {"match": place.seq}
    if wish.time is not None:
        ts = wish.time.timestamp()
        [seq] = await panel.reader.values("seq_at", fid=fid, kinds=kinds, ts=ts)
        return {} if seq is None else {"match": seq}
    return {}


async def _before(
    panel: State, fid: str, kinds: list[str], before: int, limit: int, task_run: str | None
) -> tuple[list[StoredEvent], StoredEvent | None]:
    """The newest events before a seq, and the one before them if there is one."""
    # One more than is shown tells whether there are earlier ones; so does a page cut by size.
    events = await panel.reader.latest(fid, before, kinds=kinds, limit=limit + 1, task_run=task_run)
    if len(events) > limit:
        return events[1:], events[0]
    if not events:
        return [], None
    earlier = await panel.reader.latest(fid, events[0].seq, kinds=kinds, limit=1, task_run=task_run)
    return events, earlier[0] if earlier else None


async def _after(
    panel: State, fid: str, kinds: list[str], after: int, limit: int, task_run: str | None
) -> tuple[list[StoredEvent], bool]:
    origin = Origin(task_run=task_run)
    batch = await panel.reader.page(fid, after, kinds=kinds, origin=origin, limit=limit + 1)
    return batch.events[:limit], batch.more or len(batch.events) > limit


class _Placed(NamedTuple):
    """Where an event stands in a list; ``pane.js`` follows the same rule."""

    attempt: int
    at: float  # its time, or one that is late enough
    event: StoredEvent


def _placed(events: Iterable[StoredEvent], attempt: int, window: float) -> list[_Placed]:
    """Events in the order of their times, those of an attempt together.

    Clocks differ, and what a spill file held comes hours late: an event goes ahead of those that
    were stored before it by no more than ``window`` seconds.
    """
    placed = []
    newest = float("-inf")
    for event in events:
        if event.attempt > attempt:
            attempt, newest = event.attempt, float("-inf")
        newest = max(newest, event.ts)
        placed.append(_Placed(attempt, max(event.ts, newest - window), event))
    if window:
        placed.sort(key=lambda each: (each.attempt, each.at, each.event.seq))
    return placed


def _items(name: str, events: Iterable[StoredEvent], attempt: int) -> Iterable[dict[str, Any]]:
    for now, at, event in _placed(events, attempt, 0.0 if name == "raw" else WINDOW):
        if now > attempt:
            attempt = now
            yield {"divider": attempt}
        item = {"seq": event.seq, "ts": event.ts, "kind": event.kind}
        if name == "raw":
            yield item | _raw(event)
        else:
            yield item | {
                "at": f"{at:.6f}",
                "origin": origin(event.source),
                "html": Markup(render(event.kind, event.payload)),
                "error_line": _error_line(event),
            }


def _error_line(event: StoredEvent) -> str | None:
    return line_of(event.payload) or "error" if event.kind == Kind.ERROR else None


def _of_now(event: StoredEvent, attempt: int) -> bool:
    """Whether it is the error of the newest attempt."""
    return event.kind == Kind.ERROR and event.attempt >= attempt


def _raw(event: StoredEvent) -> dict[str, Any]:
    source = event.source or {}
    task, node, pid = source.get("task_run") or {}, source.get("node"), source.get("pid")
    named = task.get("name") if isinstance(task, dict) else None
    words = [str(part) for part in (named, node, pid) if part]
    return {
        "payload": event.payload[:MAX_PAYLOAD],
        "cut": len(event.payload) > MAX_PAYLOAD,
        "size": len(event.payload),
        "short": " ".join(event.payload[:200].replace("\x1b", "␛").split()),
        "where": " · ".join(words),
        "source": json.dumps(source, ensure_ascii=False, indent=2) if source else "",
        "attempt": event.attempt,
    }


def _moment(text: str) -> datetime | None:
    """A point in time in ISO 8601; without a zone it is UTC's."""
    try:
        value = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if value is None:
        return None
    value = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return value if 1970 < value.year < 9000 else None
