"""Two attempts beside each other: of one execution, or of one and its rerun."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from kodosumi_prefect.error_line import line_of
from kodosumi_prefect.events import STDIO_KINDS, TERMINAL, Kind, Status
from kodosumi_prefect.panel.executions.headings import look
from kodosumi_prefect.panel.executions.log_lines import line_text
from kodosumi_prefect.panel.executions.rows import title
from kodosumi_prefect.panel.executions.run_again import input_fields
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.panel.html.values import cut
from kodosumi_prefect.stream.reader import Reader, StoredEvent
from kodosumi_prefect.stream.rows import AttemptSpan, StoredExecution

LINES = 20_000  # of each side that are looked through for one that differs
READ = 1000  # events read at once
MAX_VALUE = 400  # characters of an input
MAX_LINE = 500  # characters of a line

_SPOKEN = (Kind.STDOUT, Kind.STDERR, Kind.ERROR)  # what code says; Prefect's own lines differ
# What differs in every run, and says nothing: ids, dates and times of day, spans of time.
_PASSING = re.compile(
    r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\d|\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?|\d+(?:\.\d+)? ?(?:ms|s|sec|seconds)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log, and where it stands."""

    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One attempt.

    Attributes:
        look: its status as people read it.
        error: in one line; None if it had none.
        seconds: it took; None if it never ran.
        result: as HTML; None if it has none.
        lines: how many its log has.
        line: the first that differs from the other side.
    """

    row: StoredExecution
    title: str
    attempt: int
    attempts: list[int]
    look: str
    began: datetime | None
    seconds: float | None
    live: bool
    error: str | None
    traceback: Markup | None
    final: str | None
    result: Markup | None
    lines: int
    line: Line | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An input that is not the same; None on the side that does not have it."""

    name: str
    one: str | None
    other: str | None


async def side(
    reader: Reader, row: StoredExecution, attempt: int | None
) -> tuple[Side, AttemptSpan | None]:
    """One attempt as it went; the newest one if there is none of that number."""
    spans = await reader.rows_of(AttemptSpan, "attempts", fid=row.fid, kinds=sorted(STDIO_KINDS))
    numbers = [span.attempt for span in spans] or [row.attempt]
    number = attempt if attempt in numbers else numbers[-1]
    span = next((each for each in spans if each.attempt == number), None)
    events: list[StoredEvent] = []
    if span is not None:
        kinds = [Kind.STATUS, Kind.ERROR, Kind.FINAL]
        page = await reader.page(row.fid, span.first - 1, until=span.last, kinds=kinds)
        events = [event for event in page.events if event.attempt == number]
    newest = number == numbers[-1]
    status = row.status if newest else _status(events)
    error = _last(events, Kind.ERROR)
    if error is None and status == Status.ERROR and span is not None:
        error = await _retried(reader, row.fid, span)
    final = _last(events, Kind.FINAL) if status == Status.FINISHED else None
    live = newest and row.status not in TERMINAL and span is not None and span.began is not None
    ended = row.ended_at if newest and row.ended_at else _ended(events, span)
    began = span.began if span is not None else None
    seconds = max((ended - began).total_seconds(), 0.0) if began and ended else None
    return Side(
        row=row,
        title=title(row),
        attempt=number,
        attempts=numbers,
        look=look(status, row.cancelled if newest else _was_cancelled(events)),
        began=began,
        seconds=seconds,
        live=live,
        error=(line_of(error) or "error") if error and status == Status.ERROR else None,
        traceback=Markup(render(Kind.ERROR, error))
        if error and status == Status.ERROR and "\n" in error.strip()
        else None,
        final=final,
        result=Markup(render(Kind.FINAL, final)) if final else None,
        lines=span.lines if span is not None else 0,
    ), span


def changes(one: str | None, other: str | None) -> list[Change]:
    """Inputs that differ, by name; inputs as the rows of executions have them."""
    left, right = input_fields(one) or {}, input_fields(other) or {}
    return [
        Change(name, _written(left, name), _written(right, name))
        for name in dict.fromkeys([*left, *right])
        if left.get(name) != right.get(name) or (name in left) != (name in right)
    ]


async def first_difference(
    reader: Reader, one: tuple[str, AttemptSpan], other: tuple[str, AttemptSpan]
) -> tuple[Line | None, Line | None] | None:
    """The first line in which two logs differ but for ids and times; None if there is none.

    A side whose log ends before has None in its place.
    """
    left, right = _lines(reader, *one), _lines(reader, *other)
    for _ in range(LINES):
        a, b = await anext(left, None), await anext(right, None)
        if a is None and b is None:
            return None
        if a is None or b is None or _PASSING.sub("·", a.text) != _PASSING.sub("·", b.text):
            return _short(a), _short(b)
    return None


async def _lines(reader: Reader, fid: str, span: AttemptSpan) -> AsyncIterator[Line]:
    cursor = span.first - 1
    while True:
        page = await reader.page(fid, cursor, until=span.last, kinds=list(_SPOKEN), limit=READ)
        for event in page.events:
            if event.attempt == span.attempt:
                text = line_text(event)
                yield Line(event.seq, line_of(text) if event.kind == Kind.ERROR else text)
        if not page.more or not page.events:
            return
        cursor = page.events[-1].seq


def _short(line: Line | None) -> Line | None:
    return None if line is None else Line(line.seq, cut(line.text, MAX_LINE))


def _status(events: Sequence[StoredEvent]) -> str:
    """How an attempt ended that others followed: if nothing says so, it failed."""
    words = [event.payload for event in events if event.kind == Kind.STATUS]
    return next((word for word in reversed(words) if word in TERMINAL), Status.ERROR)


def _ended(events: Sequence[StoredEvent], span: AttemptSpan | None) -> datetime | None:
    """When an attempt ended; what waits for the next one belongs to neither."""
    ends = [event.ts for event in events if event.kind == Kind.STATUS and event.payload in TERMINAL]
    if ends:
        return datetime.fromtimestamp(ends[0], UTC)
    return span.ended if span is not None else None


def _was_cancelled(events: Sequence[StoredEvent]) -> bool:
    """Whether the last state of an attempt is Prefect's Cancelled."""
    states = [event.source["state"] for event in events if event.source and "state" in event.source]
    return bool(states) and states[-1].get("type") == "CANCELLED"


def _last(events: Sequence[StoredEvent], kind: Kind) -> str | None:
    return next((event.payload for event in reversed(events) if event.kind == kind), None)


async def _retried(reader: Reader, fid: str, span: AttemptSpan) -> str | None:
    """The traceback of an attempt that Prefect retried by itself, which is no error yet."""
    events = await reader.latest(fid, span.last + 1, kinds=[Kind.DEBUG, Kind.STDERR], limit=200)
    own = [event for event in events if event.attempt == span.attempt and event.seq >= span.first]
    return next((e.payload for e in reversed(own) if "Traceback (most recent" in e.payload), None)


def _written(fields: dict[str, Any], name: str) -> str | None:
    if name not in fields:
        return None
    value = fields[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, MAX_VALUE)
