"""Rows of a run's trace: spans as a browser reads many of them, steps, and a first table."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, NamedTuple

from kodosumi_prefect.events import STDIO_KINDS, Kind
from kodosumi_prefect.panel.executions.log_lines import line_text
from kodosumi_prefect.panel.executions.panes import PANES
from kodosumi_prefect.panel.html.questions import fields_of, title_of
from kodosumi_prefect.panel.html.render import origin, render
from kodosumi_prefect.panel.html.words import plain_line
from kodosumi_prefect.stream.reader import StoredEvent, said_again
from kodosumi_prefect.stream.rows import StoredSpan

FIRST = 50  # spans that the page itself brings
LONGEST_ERROR = 300  # characters of an error in a row
DEEPEST = 12  # levels by which a row of the first table is moved in
LOG = tuple(sorted(STDIO_KINDS - {Kind.ERROR}))
STEPS = PANES["steps"].kinds

_NAMES = tuple(field.name for field in fields(StoredSpan))
_VALUES = attrgetter(*_NAMES)
_ERROR = _NAMES.index("error")


def table(spans: Sequence[StoredSpan]) -> dict[str, Any]:
    """Spans as the names of columns and a list of values each, which is half of what dicts take."""
    return {"columns": _NAMES, "rows": [_row(span) for span in spans]}


def _row(span: StoredSpan) -> Sequence[Any]:
    values: tuple[Any, ...] = _VALUES(span)
    if span.error is None or len(span.error) <= LONGEST_ERROR:
        return values
    cut = f"{span.error[:LONGEST_ERROR]}…"
    return (*values[:_ERROR], cut, *values[_ERROR + 1 :])


def steps(events: Iterable[StoredEvent]) -> list[dict[str, Any]]:
    """Events that stand in a trace beside spans, each in a line of words."""
    return [_step(event) for event in events if not said_again(event)]


def _step(event: StoredEvent) -> dict[str, Any]:
    task = (event.source or {}).get("task_run") or {}
    step = {
        "seq": event.seq,
        "ts": event.ts,
        "kind": event.kind,
        "attempt": event.attempt,
        "task": task.get("id") if isinstance(task, dict) else None,
        "task_name": origin(event.source),
    }
    if event.kind in (Kind.LOCK, Kind.LEASE):
        fields = fields_of(event.payload)
        lid = str(fields.get("lid") or "")
        return step | {"lid": lid, "words": title_of(fields), "state": fields.get("state")}
    if event.kind in LOG:
        return step | {"words": " ".join(line_text(event)[:200].split())}
    if event.kind == Kind.ERROR:
        lines = event.payload.strip().splitlines()
        return step | {"words": lines[-1][:200] if lines else "error"}
    return step | {"words": plain_line(render(event.kind, event.payload))}


class Line(NamedTuple):
    """A row of the first table; ``depth`` from 0."""

    span: StoredSpan
    depth: int
    seconds: float | None


def first_lines(spans: Sequence[StoredSpan]) -> list[Line]:
    """Spans as a tree in the order in which they began; what is above none of them is a root."""
    children: dict[str | None, list[StoredSpan]] = {}
    known = {span.id for span in spans}
    for span in spans:
        parent = span.parent if span.parent in known else None
        children.setdefault(parent, []).append(span)
    lines: list[Line] = []
    left = [(span, 0) for span in reversed(children.pop(None, []))]
    while left:
        span, depth = left.pop()
        lines.append(Line(span, min(depth, DEEPEST), _seconds(span)))
        left += [(child, depth + 1) for child in reversed(children.pop(span.id, []))]
    return lines


def _seconds(span: StoredSpan) -> float | None:
    if span.began is None or span.ended is None or span.ended < span.began:
        return None
    return span.ended - span.began
