"""Payloads of events as HTML, by their kind and by the type that their envelope names."""

import json
import math
from collections.abc import Mapping
from html import escape
from typing import Any

from kodosumi_prefect.events import STDIO_KINDS, WITHOUT_ATTRIBUTES, Kind
from kodosumi_prefect.panel.html.ansi import ansi_to_html
from kodosumi_prefect.panel.html.markdown import html, markdown
from kodosumi_prefect.panel.html.uploads import upload_line
from kodosumi_prefect.panel.html.values import (
    MAX_NESTING,
    MAX_RENDERED,
    MAX_ROWS,
    cut,
    is_frame,
    list_html,
    more,
    preformatted,
    scalar,
    table,
    value_html,
)

MAX_LINE = 20_000  # characters of one log event

_PLAIN_KINDS = frozenset({Kind.STATUS, Kind.ERROR, Kind.DEBUG, Kind.STDOUT, Kind.STDERR})
_SCALAR_NAMES = frozenset({"str", "int", "float", "bool", "NoneType"})  # NoneType: until 0.2
_TEXT_NAMES = frozenset({"Markdown", "HTML", "Text", "TaskOutput", "CrewOutput", "AgentFinish"})


def render(kind: str, payload: str) -> str:
    """An event's payload as HTML that is safe to put into a page.

    ``status`` stays its one word; logs keep their terminal colours; a traceback is preformatted;
    envelopes become markdown, text, tables or lists by their type name.
    """
    if kind == Kind.STATUS:
        return escape(payload)
    if kind == Kind.ERROR:
        return f'<pre class="traceback" tabindex="0">{ansi_to_html(cut(payload))}</pre>'
    if kind in _PLAIN_KINDS:
        return ansi_to_html(cut(payload, MAX_LINE))
    try:
        stored = json.loads(payload)
    except ValueError:
        return preformatted(payload)
    if kind == Kind.PROGRESS:
        return render_progress(stored)
    if kind in STDIO_KINDS:
        return escape(cut(upload_line(stored), MAX_LINE))
    if len(payload) > MAX_RENDERED and not _is_text(stored) and not _holds_frame(stored):
        return preformatted(json.dumps(stored, ensure_ascii=False, indent=2))
    return render_envelope(stored)


def origin(source: Mapping[str, Any] | None) -> str:
    """The task run that an event comes from, or else the subflow; empty if it is the flow's own."""
    for part in ("task_run", "subflow"):
        run = (source or {}).get(part)
        if isinstance(run, Mapping) and run.get("name"):
            return str(run["name"])[:200]
    return ""


def render_envelope(stored: Any, depth: int = 0) -> str:
    """A stored envelope as HTML; any other value is shown as it is."""
    if not isinstance(stored, Mapping) or len(stored) != 1:
        return value_html(stored, depth)
    name, value = next(iter(stored.items()))
    match name:
        case "Markdown":
            return _block("markdown", markdown(_body(value)))
        case "HTML":
            return _block("markdown", html(_body(value)))
        case "Text":
            return preformatted(_body(value))
        case "str":
            return f'<p class="plain">{escape(cut(str(value)))}</p>'
        case "dict":
            return value_html(value, depth)
        case "__list__" if isinstance(value, list):
            return _envelopes(value, depth)
        case "TaskOutput" | "CrewOutput" | "AgentFinish" if isinstance(value, Mapping):
            return _crew(name, value)
    if name in _SCALAR_NAMES:
        return f"<p>{scalar(value)}</p>"
    if isinstance(value, str):
        if name == WITHOUT_ATTRIBUTES:
            return preformatted(value)
        return f'<p class="type">{escape(cut(name, 200))}</p>{preformatted(value)}'
    return f'<p class="type">{escape(cut(name, 200))}</p>{value_html(value, depth)}'


def render_progress(stored: Any) -> str:
    """A progress envelope ``{"dict": {done, total, text}}`` as a bar and its words."""
    fields = stored.get("dict") if isinstance(stored, Mapping) else None
    values: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
    done, total = _number(values.get("done")), _number(values.get("total"))
    words = cut(str(values["text"]), 300) if values.get("text") else ""
    if total and done is not None:
        share = min(max(done / total, 0.0), 1.0)
        bar = f'<progress aria-label="Progress" max="1" value="{share:.4f}"></progress>'
        count = f"{done:,g}".replace(",", " ") + " of " + f"{total:,g}".replace(",", " ")
        numbers = f'<span class="share">{share:.0%}</span> <span class="count">{count}</span>'
    else:
        bar = '<progress aria-label="Progress"></progress>'
        numbers = f'<span class="count">{done:g}</span>' if done is not None else ""
    label = f'<span class="words">{escape(words)}</span>' if words else ""
    return f'{bar}<p class="numbers">{numbers} {label}</p>'


def _crew(name: str, value: Mapping[str, Any]) -> str:
    """The outputs of CrewAI by their text, with their other fields folded away."""
    body = next((str(value[k]) for k in ("raw", "text", "output") if value.get(k)), "")
    title = value.get("name") or value.get("agent") or name
    rest = {k: v for k, v in value.items() if k not in ("raw", "text", "output") and v}
    more = f"<details><summary>{escape(name)}</summary>{table(rest, 1)}</details>" if rest else ""
    return (
        f'<p class="type">{escape(cut(str(title), 200))}</p>'
        f"{_block('markdown', markdown(body))}{more}"
    )


def _envelopes(value: list[Any], depth: int) -> str:
    """A list of envelopes: of one mapping type as a table, of scalars as bullets, else in a row."""
    visible = value[:MAX_ROWS]
    if not all(isinstance(item, Mapping) and len(item) == 1 for item in visible):
        return list_html(value, depth)
    names = {next(iter(item)) for item in visible}
    inner = [next(iter(item.values())) for item in visible]
    if not value or depth >= MAX_NESTING or names <= _SCALAR_NAMES | {WITHOUT_ATTRIBUTES}:
        return list_html(inner, depth) + more(value)
    alike = len(names) == 1 and not names & _TEXT_NAMES
    if alike and all(isinstance(i, Mapping) and not is_frame(i) for i in inner):
        return list_html(inner, depth) + more(value)
    return "".join(render_envelope(item, depth + 1) for item in visible) + more(value)


def _holds_frame(stored: Any) -> bool:
    """Whether an envelope is a data frame's, whose size is bounded as it is stored."""
    return isinstance(stored, Mapping) and len(stored) == 1 and is_frame(*stored.values())


def _block(name: str, html: str) -> str:
    return f'<div class="{name}">{html}</div>'


def _body(value: Any) -> str:
    body = value.get("body", "") if isinstance(value, Mapping) else value
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)


def _is_text(stored: Any) -> bool:
    names = ("Markdown", "HTML", "Text", "str")
    return isinstance(stored, Mapping) and len(stored) == 1 and next(iter(stored)) in names


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
