"""What ``span`` events say of spans; totals and trees are made of it.

Anybody may write such an event, an older or a newer process too: what is not in our format does
nothing, and what is wrong in it is left out.
"""

import re
from collections.abc import Iterable
from typing import Any

import orjson

from kodosumi_prefect.events import Event, clean
from kodosumi_prefect.spans.span import (
    LONGEST_ERROR,
    LONGEST_ID,
    LONGEST_NAME,
    SpanStatus,
    SpanType,
    amount_of,
    count_of,
    type_of,
)

_ID = re.compile(rf"[0-9A-Za-z_.:-]{{1,{LONGEST_ID}}}")
_STATUSES = frozenset(SpanStatus)
_TYPES = frozenset(SpanType)
_TOKENS = ("input", "output", "cached", "reasoning")
# Texts that a span has one of.
_TEXTS = {"model": LONGEST_NAME, "provider": LONGEST_NAME, "response": LONGEST_NAME}
_BETTER_AT_END = ("name", "type", "model", "provider")

Row = dict[str, Any]


def span_rows(events: Iterable[tuple[int, Event]]) -> list[Row]:
    """What ``span`` events say, a row of the query ``put_spans`` each span, in the order of ids.

    Arguments:
        events: with their seq.
    """
    rows: dict[str, Row] = {}
    for seq, event in events:
        if (row := _row(seq, event)) is None:
            continue
        known = rows.get(row["id"])
        rows[row["id"]] = row if known is None else _together(known, row)
    return [rows[id_] for id_ in sorted(rows)]


def _together(first: Row, second: Row) -> Row:
    """What two rows of a span say; of what both say, the first, but what an end knows better."""
    both = second | {key: value for key, value in first.items() if value is not None}
    ends = [row for row in (first, second) if "end_seq" in row]
    if len(ends) == 1:
        both |= {key: ends[0][key] for key in _BETTER_AT_END if ends[0].get(key) is not None}
    return both


def _row(seq: int, event: Event) -> Row | None:
    try:
        body = orjson.loads(event.payload)["Span"]
        at, id_ = body["at"], body["id"]
    except (ValueError, TypeError, KeyError):
        return None
    if at not in ("begin", "end") or not isinstance(id_, str) or not _ID.fullmatch(id_):
        return None
    row: Row = {"id": id_, "attempt": event.attempt, "task_run": _task_run(event.source)}
    row |= {name: _text(body.get(name), longest) for name, longest in _TEXTS.items()}
    if at == "begin":
        parent = body.get("parent")
        known = isinstance(parent, str) and parent != id_ and _ID.fullmatch(parent)
        return row | {
            "begin_seq": seq,
            "began": event.ts,
            "parent": parent if known else None,
            "name": _text(body.get("name"), LONGEST_NAME) or "unnamed",
            "type": type_of(body.get("type")),
        }
    usage = body.get("usage")
    tokens = usage if isinstance(usage, dict) else {}
    status = body.get("status")
    word = body.get("type")
    return row | {
        "end_seq": seq,
        "name": _text(body.get("name"), LONGEST_NAME),
        "type": word if isinstance(word, str) and word in _TYPES else None,
        "began": amount_of(body.get("began")),
        "ended": event.ts,
        "status": status if status in _STATUSES else SpanStatus.OK,
        "error": _text(body.get("error"), LONGEST_ERROR),
        "cost": amount_of(body.get("cost")),
        **{f"{name}_tokens": count_of(tokens.get(name)) for name in _TOKENS},
    }


def _text(value: object, longest: int) -> str | None:
    return clean(value)[:longest] if isinstance(value, str) and value else None


def _task_run(source: str | None) -> str | None:
    try:
        task_run = (orjson.loads(source or "{}").get("task_run") or {}).get("id")
    except (ValueError, AttributeError):
        return None
    return str(task_run) if task_run else None
