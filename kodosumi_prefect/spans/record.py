"""What ``span`` events say of spans; totals and trees are made of it.

Anybody may write such an event, an older or a newer process too: what is not in our format does
nothing, and what is wrong in it is left out.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import orjson

from kodosumi_prefect.events import clean
from kodosumi_prefect.spans.span import (
    LONGEST_ERROR,
    LONGEST_ID,
    LONGEST_NAME,
    SpanStatus,
    SpanType,
    amount_of,
    count_of,
)

_ID = re.compile(rf"[0-9A-Za-z_.:-]{{1,{LONGEST_ID}}}")
_STATUSES = frozenset(SpanStatus)
_TYPES = frozenset(SpanType)
_TOKENS = ("input", "output", "cached", "reasoning", "written")
# Texts that a span has one of, and the characters that are kept of each.
_TEXTS = dict.fromkeys(("name", "model", "provider", "response"), LONGEST_NAME)
_TEXTS_AT_END = _TEXTS | {"error": LONGEST_ERROR}
_BETTER_AT_END = ("name", "type", "model", "provider")

Row = dict[str, Any]


def span_rows(events: Iterable[tuple[int, Sequence[Any]]]) -> list[Row]:
    """What ``span`` events say, a row of the query ``put_spans`` each span, in the order of ids.

    Arguments:
        events: the fields of an ``Event`` each, with their seq.

    Returns:
        Rows that have only the columns of which something is said.
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
    both = {**second, **first}
    if ("end_seq" in first) != ("end_seq" in second):
        end = first if "end_seq" in first else second
        for key in _BETTER_AT_END:
            if key in end:
                both[key] = end[key]
    return both


def _row(seq: int, event: Sequence[Any]) -> Row | None:
    ts, _, payload, attempt, source = event[:5]
    try:
        body = orjson.loads(payload)["Span"]
        at, id_ = body["at"], body["id"]
    except (ValueError, TypeError, KeyError):
        return None
    if at not in ("begin", "end") or not isinstance(id_, str) or not _ID.fullmatch(id_):
        return None
    row: Row = {"id": id_, "attempt": attempt}
    if (task_run := _task_run(source)) is not None:
        row["task_run"] = task_run
    texts = _TEXTS if at == "begin" else _TEXTS_AT_END
    for name in texts.keys() & body.keys():
        if isinstance(value := body[name], str) and value:
            row[name] = clean(value)[: texts[name]]
    word = body.get("type")
    known_type = word if isinstance(word, str) and word in _TYPES else None
    if at == "begin":
        parent = body.get("parent")
        if isinstance(parent, str) and parent != id_ and _ID.fullmatch(parent):
            row["parent"] = parent
        row["begin_seq"], row["began"] = seq, ts
        row["type"] = known_type or SpanType.CUSTOM
        return row
    row["end_seq"], row["ended"] = seq, ts
    if known_type is not None:
        row["type"] = known_type
    if (began := amount_of(body.get("began"))) is not None:
        row["began"] = began
    status = body.get("status")
    row["status"] = status if isinstance(status, str) and status in _STATUSES else SpanStatus.OK
    if (cost := amount_of(body.get("cost"))) is not None:
        row["cost"] = cost
    if isinstance(usage := body.get("usage"), dict):
        for name in _TOKENS:
            if (count := count_of(usage.get(name))) is not None:
                row[f"{name}_tokens"] = count
    return row


@lru_cache(maxsize=256)  # events of one place have the same
def _task_run(source: str | None) -> str | None:
    try:
        task_run = (orjson.loads(source or "{}").get("task_run") or {}).get("id")
    except (ValueError, AttributeError):
        return None
    return str(task_run) if task_run else None
