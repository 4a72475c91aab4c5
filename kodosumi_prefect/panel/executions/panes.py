"""A stretch of an execution's events, as one of its tabs shows it."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query
from markupsafe import Markup

from kodosumi_prefect.error_line import line_of
from kodosumi_prefect.events import STDIO_KINDS, Kind, clean
from kodosumi_prefect.panel.executions.log_lines import clock, is_trace, level
from kodosumi_prefect.panel.executions.newest_attempts import between_attempts
from kodosumi_prefect.panel.executions.offsets import began, offset_words, read_offset
from kodosumi_prefect.panel.executions.outcomes import Outcomes, outcomes
from kodosumi_prefect.panel.html.render import origin, render
from kodosumi_prefect.panel.html.uploads import upload_html
from kodosumi_prefect.panel.web.parameters import MAX_CURSOR
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.stream.reader import Origin, StoredEvent, said_again
from kodosumi_prefect.stream.rows import FoundText, StoredExecution

WINDOW = 10.0  # seconds that an event goes ahead at most of one that was stored before it
MAX_PAYLOAD = 20_000  # characters of a payload that the raw tab shows

Turn = Literal["next", "previous"]
Order = Literal["time", "commit"]


class Pane(NamedTuple):
    """What a tab holds: events of these kinds, so many at a time."""

    kinds: tuple[str, ...]
    limit: int


PANES = {
    "output": Pane((Kind.RESULT, Kind.UPLOAD, Kind.ERROR), 100),
    "steps": Pane((Kind.AGENT, Kind.ACTION, Kind.RESULT, Kind.LOCK, Kind.LEASE, Kind.ERROR), 100),
    "log": Pane(tuple(sorted(STDIO_KINDS)), 500),
    "tail": Pane(tuple(sorted(STDIO_KINDS)), 60),
    "raw": Pane(tuple(Kind), 200),
}


@dataclass(frozen=True, slots=True)
class PaneQuery:
    """Which stretch is wanted; the newest if nothing says otherwise.

    Attributes:
        line: the seq of a line to show.
        offset: seconds from the run's start to show; as typed in ``offset_text``.
        order: of lines; those of the log stand in that of their times unless told otherwise.
    """

    before: int | None
    after: int | None
    around: int | None
    text: str
    start: int | None
    turn: Turn
    time: datetime | None
    kinds: frozenset[str]
    task_run: str | None
    subflow: str | None
    line: int | None
    offset: float | None
    offset_text: str
    order: Order

    @property
    def origin(self) -> Origin:
        """Where the wanted events come from."""
        return Origin(task_run=self.task_run, subflow=self.subflow)


NEWEST = PaneQuery(
    before=None,
    after=None,
    around=None,
    text="",
    start=None,
    turn="previous",
    time=None,
    kinds=frozenset(),
    task_run=None,
    subflow=None,
    line=None,
    offset=None,
    offset_text="",
    order="time",
)

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
    subflow: Annotated[str | None, Query(max_length=1000)] = None,
    line: Seq = None,
    offset: Annotated[str, Query(max_length=40)] = "",
    order: Annotated[str, Query(max_length=40)] = "time",
) -> PaneQuery:
    """What a request's query says.

    What it says wrongly of ``time``, ``offset``, ``order`` or ``kind`` is as unsaid.
    """
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
        subflow=clean(subflow) if subflow else None,
        line=line,
        offset=read_offset(offset),
        offset_text=clean(offset),
        order="commit" if order == "commit" else "time",
    )


Wish = Annotated[PaneQuery, Depends(pane_query)]


async def stretch(panel: State, row: StoredExecution, name: str, wish: PaneQuery) -> dict[str, Any]:
    """The events that a tab shows, rendered, and how to come to those before and behind them.

    Of errors, the output holds those of earlier attempts; the newest one's stands above it.
    ``first`` and ``last`` are the seqs to ask with for more, None where there is none; ``match``
    is the event that a search, a time or a link led to. But for raw ones, and where the order of
    their commits is wanted, events stand in the order of their times: tasks that speak at once are
    stored one after the other.
    """
    pane, fid = PANES[name], row.fid
    kinds = [kind for kind in pane.kinds if kind in wish.kinds] or list(pane.kinds)
    position = await _position(panel, row, kinds, wish)
    centre = position.get("match", wish.around)
    if centre is not None:
        half = pane.limit // 2
        ahead, more = await _before(panel, fid, kinds, centre, half, wish.origin)
        behind, later = await _after(panel, fid, kinds, centre - 1, half, wish.origin)
        events = ahead + behind
    elif wish.after is not None:
        events, later = await _after(panel, fid, kinds, wish.after, pane.limit, wish.origin)
        ahead, more = await _before(panel, fid, kinds, wish.after + 1, 0, wish.origin)
    else:
        before = MAX_CURSOR if wish.before is None else wish.before
        events, more = await _before(panel, fid, kinds, before, pane.limit, wish.origin)
        later = wish.before is not None
    attempt = more.attempt if more is not None else 1
    drawn = events if name != "output" else [e for e in events if not _of_now(e, row)]
    # Many long texts take a while to render; other requests go on meanwhile.
    settled = await outcomes(panel.reader, fid, drawn if name == "steps" else ())
    drawing = _Drawing(name, fid, settled, began(row), wish.order)
    items = await asyncio.to_thread(lambda: list(drawing.items(drawn, attempt)))
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
        "subflow": wish.subflow,
        "offset": wish.offset_text,
        "order": wish.order,
        "file": _file_query(pane, wish),
        **position,
    }


async def one_event(panel: State, row: StoredExecution, event: StoredEvent) -> dict[str, Any]:
    """A stretch that is one event: a line of the log, or a step."""
    name = "log" if event.kind in STDIO_KINDS and event.kind != Kind.ERROR else "steps"
    settled = await outcomes(panel.reader, row.fid, [event])
    drawing = _Drawing(name, row.fid, settled, began(row), "time")
    items = await asyncio.to_thread(lambda: list(drawing.items([event], event.attempt)))
    return {"kind": name, "items": items}


async def lines_between(
    panel: State, row: StoredExecution, after: int, until: int, origin_: Origin, limit: int
) -> dict[str, Any]:
    """The first log lines with ``after < seq <= until``; ``more``: whether there are others."""
    kinds = PANES["log"].kinds
    batch = await panel.reader.page(
        row.fid, after, until=until, kinds=kinds, origin=origin_, limit=limit
    )
    drawing = _Drawing("log", row.fid, Outcomes({}, {}, {}), began(row), "time")
    attempt = batch.events[0].attempt if batch.events else 1
    items = await asyncio.to_thread(lambda: list(drawing.items(batch.events, attempt)))
    return {"kind": "log", "items": items, "more": batch.more}


def _file_query(pane: Pane, wish: PaneQuery) -> str:
    """What narrows a file of the log as it narrows the page."""
    narrowed = [("kind", kind) for kind in pane.kinds if kind in wish.kinds]
    narrowed += [("task_run", wish.task_run)] if wish.task_run else []
    narrowed += [("subflow", wish.subflow)] if wish.subflow else []
    narrowed += [("order", "commit")] if wish.order == "commit" else []
    return f"?{urlencode(narrowed)}" if narrowed else ""


async def _position(
    panel: State, row: StoredExecution, kinds: list[str], wish: PaneQuery
) -> dict[str, Any]:
    """Where a search, a time or a link leads to."""
    fid = row.fid
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
    if wish.line is not None:
        found = await panel.reader.values("kind_at", fid=fid, seq=wish.line)
        return {"match": wish.line} if found and found[0] in kinds else {}
    if wish.time is not None or wish.offset is not None:
        ts = wish.time.timestamp() if wish.time else began(row) + (wish.offset or 0.0)
        [seq] = await panel.reader.values("seq_at", fid=fid, kinds=kinds, ts=ts)
        return {} if seq is None else {"match": seq}
    return {}


async def _before(
    panel: State, fid: str, kinds: list[str], before: int, limit: int, origin_: Origin
) -> tuple[list[StoredEvent], StoredEvent | None]:
    """The newest events before a seq, and the one before them if there is one."""
    # One more than is shown tells whether there are earlier ones; so does a page cut by size.
    latest = partial(
        panel.reader.latest, fid, kinds=kinds, task_run=origin_.task_run, subflow=origin_.subflow
    )
    events = await latest(before, limit=limit + 1)
    if len(events) > limit:
        return events[1:], events[0]
    if not events:
        return [], None
    earlier = await latest(events[0].seq, limit=1)
    return events, earlier[0] if earlier else None


async def _after(
    panel: State, fid: str, kinds: list[str], after: int, limit: int, origin_: Origin
) -> tuple[list[StoredEvent], bool]:
    batch = await panel.reader.page(fid, after, kinds=kinds, origin=origin_, limit=limit + 1)
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


@dataclass(frozen=True, slots=True)
class _Drawing:
    """How a tab draws its events; ``began``: what offsets are counted from, epoch seconds."""

    name: str
    fid: str
    outcomes: Outcomes
    began: float
    order: Order

    def items(self, events: Iterable[StoredEvent], attempt: int) -> Iterable[dict[str, Any]]:
        """What the template needs of each, and of the dividers between attempts."""
        stored = self.name == "raw" or self.order == "commit"
        folded = False
        for now, at, event in _placed(events, attempt, 0.0 if stored else WINDOW):
            if now > attempt:
                attempt = now
                yield {"divider": attempt}
            item = {"seq": event.seq, "ts": event.ts, "kind": event.kind}
            if self.name == "raw":
                yield item | _raw(event)
                continue
            if not stored:
                item["at"] = f"{at:.6f}"
            again = said_again(event)
            if self.name in ("log", "tail"):
                if again and not folded:
                    yield {"folded": True}
                folded = again
                yield item | self._line(event) | {"again": again}
            elif again:
                continue
            elif (card := self._card(event)) is not None:
                yield item | card

    def _line(self, event: StoredEvent) -> dict[str, Any]:
        return {
            "clock": clock(event.ts),
            "offset": offset_words(event.ts - self.began),
            "level": level(event.kind, event.source),
            "trace": is_trace(event.kind, event.payload),
            "origin": origin(event.source),
            "html": Markup(render(event.kind, event.payload)),
        }

    def _card(self, event: StoredEvent) -> dict[str, Any] | None:
        if event.kind in (Kind.LOCK, Kind.LEASE):
            html = self.outcomes.html(event)
            return None if html is None else {"html": Markup(html), "error_line": None}
        if event.kind == Kind.UPLOAD:
            return {"html": Markup(upload_html(event.payload, self.fid)), "error_line": None}
        html = render(event.kind, event.payload)
        return {"html": Markup(html), "error_line": _error_line(event)}


def _error_line(event: StoredEvent) -> str | None:
    return line_of(event.payload) or "error" if event.kind == Kind.ERROR else None


def _of_now(event: StoredEvent, row: StoredExecution) -> bool:
    """Whether it is the error of the newest attempt, which nothing has followed yet."""
    newest = event.kind == Kind.ERROR and event.attempt >= row.attempt
    return newest and not between_attempts(row)


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
