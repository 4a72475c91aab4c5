"""Payloads as HTML: envelopes, tables, markdown and plain text."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from textwrap import dedent
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from kodosumi_prefect.events import STDIO_KINDS, Kind
from kodosumi_prefect.panel.html.ansi import ansi_to_html
from kodosumi_prefect.panel.html.sanitise import is_picture, sanitise

MAX_RENDERED = 200_000  # characters; what is longer is shown as text and cut
MAX_LINE = 20_000  # characters of one log event
MAX_ROWS = 500  # of a table or list
MAX_COLUMNS = 40
MAX_NESTING = 6

_PLAIN_KINDS = frozenset({Kind.STATUS, Kind.ERROR, Kind.DEBUG, Kind.STDOUT, Kind.STDERR})
_SCALAR_NAMES = frozenset({"str", "int", "float", "bool", "NoneType"})
_TEXT_NAMES = frozenset({"Markdown", "HTML", "Text", "TaskOutput", "CrewOutput", "AgentFinish"})


def render(kind: str, payload: str) -> str:
    """An event's payload as HTML that is safe to put into a page.

    ``status`` stays its one word; logs keep their terminal colours; a traceback is preformatted;
    envelopes become markdown, text, tables or lists by their type name.
    """
    if kind == Kind.STATUS:
        return escape(payload)
    if kind == Kind.ERROR:
        return f'<pre class="traceback" tabindex="0">{ansi_to_html(_cut(payload))}</pre>'
    if kind in _PLAIN_KINDS:
        return ansi_to_html(_cut(payload, MAX_LINE))
    try:
        stored = json.loads(payload)
    except ValueError:
        return _text(payload)
    if kind == Kind.PROGRESS:
        return render_progress(stored)
    if kind in STDIO_KINDS:
        return escape(_cut(_flat(stored), MAX_LINE))
    if len(payload) > MAX_RENDERED and not _is_text(stored) and not _holds_frame(stored):
        return _text(json.dumps(stored, ensure_ascii=False, indent=2))
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
        return _value(stored, depth)
    name, value = next(iter(stored.items()))
    match name:
        case "Markdown":
            return _block("markdown", markdown(_body(value)))
        case "HTML":
            return _block("markdown", _html(_body(value)))
        case "Text":
            return _text(_body(value))
        case "str":
            return f'<p class="plain">{escape(_cut(str(value)))}</p>'
        case "dict":
            return _value(value, depth)
        case "__list__" if isinstance(value, list):
            return _envelopes(value, depth)
        case "TaskOutput" | "CrewOutput" | "AgentFinish" if isinstance(value, Mapping):
            return _crew(name, value)
    if name in _SCALAR_NAMES:
        return f"<p>{_scalar(value)}</p>"
    if isinstance(value, str):
        return f'<p class="type">{escape(_cut(name, 200))}</p>{_text(value)}'
    return f'<p class="type">{escape(_cut(name, 200))}</p>{_value(value, depth)}'


def render_progress(stored: Any) -> str:
    """A progress envelope ``{"dict": {done, total, text}}`` as a bar and its words."""
    fields = stored.get("dict") if isinstance(stored, Mapping) else None
    values: Mapping[str, Any] = fields if isinstance(fields, Mapping) else {}
    done, total = _number(values.get("done")), _number(values.get("total"))
    words = _cut(str(values["text"]), 300) if values.get("text") else ""
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


def markdown(text: str) -> str:
    """CommonMark with tables and strikethrough; its HTML is sanitised, not forbidden."""
    if len(text) > MAX_RENDERED:
        return _text(text)
    return _reachable(sanitise(_parser().render(dedent(text))))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True})
    parser.enable(["table", "strikethrough"])
    parser.add_render_rule("image", _image)
    parser.add_render_rule("th_open", _aligned)
    parser.add_render_rule("td_open", _aligned)
    return parser


def _reachable(html: str) -> str:
    """Sanitised HTML whose code, which may scroll sideways, is reached by the keyboard."""
    return html.replace("<pre>", '<pre tabindex="0">')


def _image(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    environment: EnvType,
) -> str:
    """An image that would have to be fetched becomes a link; ``sanitise`` says why."""
    source = str(tokens[index].attrGet("src") or "")
    if is_picture(source):
        return renderer.image(tokens, index, options, environment)
    words = tokens[index].content or source
    return f'<a href="{escape(source)}">{escape(words)}</a>'


def _aligned(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    environment: EnvType,
) -> str:
    """A table cell's alignment as an attribute: styles are not let through."""
    token = tokens[index]
    if style := token.attrs.pop("style", None):
        token.attrSet("align", str(style).removeprefix("text-align:"))
    return renderer.renderToken(tokens, index, options, environment)


def _html(text: str) -> str:
    return _text(text) if len(text) > MAX_RENDERED else _reachable(sanitise(text))


def _crew(name: str, value: Mapping[str, Any]) -> str:
    """The outputs of CrewAI by their text, with their other fields folded away."""
    body = next((str(value[k]) for k in ("raw", "text", "output") if value.get(k)), "")
    title = value.get("name") or value.get("agent") or name
    rest = {k: v for k, v in value.items() if k not in ("raw", "text", "output") and v}
    more = f"<details><summary>{escape(name)}</summary>{_table(rest, 1)}</details>" if rest else ""
    return (
        f'<p class="type">{escape(_cut(str(title), 200))}</p>'
        f"{_block('markdown', markdown(body))}{more}"
    )


def _value(value: Any, depth: int) -> str:
    if isinstance(value, Mapping):
        if _is_frame(value):
            return _frame(value)
        if depth >= MAX_NESTING:
            return _text(json.dumps(value, ensure_ascii=False, indent=2))
        return _table(value, depth) if value else '<p class="empty">empty</p>'
    if isinstance(value, list):
        return _list(value, depth)
    if isinstance(value, str) and ("\n" in value or len(value) > 200):
        return _text(value)
    return f"<p>{_scalar(value)}</p>"


def _table(value: Mapping[str, Any], depth: int) -> str:
    """A mapping as a table of two columns."""
    rows = "".join(
        f'<tr><th scope="row">{escape(_cut(str(key), 300))}</th><td>{_cell(item, depth)}</td></tr>'
        for key, item in list(value.items())[:MAX_ROWS]
    )
    return _scrolling(f'<table class="fields"><tbody>{rows}</tbody></table>', depth) + _more(value)


def _list(value: list[Any], depth: int) -> str:
    """A list of plain values: a table if they are mappings, else bullets."""
    if not value:
        return '<p class="empty">empty</p>'
    if depth >= MAX_NESTING:
        return _text(json.dumps(value, ensure_ascii=False, indent=2))
    visible = value[:MAX_ROWS]
    if all(isinstance(item, Mapping) and item for item in visible):
        return _records(visible, depth) + _more(value)
    items = "".join(f"<li>{_cell(item, depth)}</li>" for item in visible)
    return f"<ul>{items}</ul>" + _more(value)


def _envelopes(value: list[Any], depth: int) -> str:
    """A list of envelopes: of one mapping type as a table, of scalars as bullets, else in a row."""
    visible = value[:MAX_ROWS]
    if not all(isinstance(item, Mapping) and len(item) == 1 for item in visible):
        return _list(value, depth)
    names = {next(iter(item)) for item in visible}
    inner = [next(iter(item.values())) for item in visible]
    if not value or depth >= MAX_NESTING or names <= _SCALAR_NAMES:
        return _list(inner, depth) + _more(value)
    alike = len(names) == 1 and not names & _TEXT_NAMES
    if alike and all(isinstance(i, Mapping) and not _is_frame(i) for i in inner):
        return _list(inner, depth) + _more(value)
    return "".join(render_envelope(item, depth + 1) for item in visible) + _more(value)


def _records(rows: list[Any], depth: int) -> str:
    """Mappings as a table with a column for each key they have."""
    columns = list(dict.fromkeys(key for row in rows for key in row))[:MAX_COLUMNS]
    head = "".join(f'<th scope="col">{escape(_cut(str(c), 300))}</th>' for c in columns)
    body = "".join(
        f"<tr>{''.join(_td(row[c], depth) if c in row else '<td></td>' for c in columns)}</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return _scrolling(table, depth)


def _is_frame(value: Any) -> bool:
    """Whether this is what ``serialize`` keeps of a data frame."""
    if not isinstance(value, Mapping) or value.keys() - {"index"} != {"columns", "data", "shape"}:
        return False
    columns, data, shape, index = (value.get(k) for k in ("columns", "data", "shape", "index"))
    return (
        isinstance(columns, list)
        and isinstance(data, list)
        and all(isinstance(row, list) and len(row) == len(columns) for row in data)
        and isinstance(shape, list)
        and len(shape) == 2
        and all(isinstance(length, int) for length in shape)
        and (index is None or (isinstance(index, list) and len(index) == len(data)))
    )


def _holds_frame(stored: Any) -> bool:
    """Whether an envelope is a data frame's, whose size is bounded as it is stored."""
    return isinstance(stored, Mapping) and len(stored) == 1 and _is_frame(*stored.values())


def _frame(value: Mapping[str, Any]) -> str:
    """The rows of a data frame that are kept, and how many it has."""
    (rows, width), data, index = value["shape"], value["data"], value.get("index")
    columns = value["columns"][:MAX_COLUMNS]
    head = "".join(f'<th scope="col">{escape(_cut(str(name), 300))}</th>' for name in columns)
    corner = "<td></td>" if index is not None else ""
    lines = []
    for number, row in enumerate(data):
        label = f'<th scope="row">{_scalar(index[number])}</th>' if index is not None else ""
        cells = "".join(_td(cell, 1) for cell in row[:MAX_COLUMNS])
        lines.append(f"<tr>{label}{cells}</tr>")
    table = f"<table><thead><tr>{corner}{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    size = " × ".join((_counted(rows, len(data), "row"), _counted(width, len(columns), "column")))
    return (
        f'<div class="wide frame" tabindex="0" role="group" aria-label="Table">{table}</div>'
        f'<p class="empty">{size}</p>'
    )


def _counted(all_of_them: int, visible: int, word: str) -> str:
    words = f"{all_of_them:,} {word}{'' if all_of_them == 1 else 's'}"
    return words if visible >= all_of_them else f"first {visible:,} of {words}"


def _td(value: Any, depth: int) -> str:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{'<td class=number>' if numeric else '<td>'}{_cell(value, depth)}</td>"


def _cell(value: Any, depth: int) -> str:
    if isinstance(value, Mapping):
        return _value(value, depth + 1)
    if isinstance(value, list):
        if (
            value
            and all(not isinstance(item, Mapping | list) for item in value)
            and len(value) < 20
        ):
            return ", ".join(_scalar(item) for item in value)
        return _list(value, depth + 1)
    if isinstance(value, str) and "\n" in value:
        return _text(value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case None:
            return '<span class="none">none</span>'
        case True | False:
            return "yes" if value else "no"
        case int():
            return f"{value:d}"
        case float():
            return f"{value:.12g}"
    return escape(_cut(str(value)))


def _text(value: str) -> str:
    return f'<pre class="text">{escape(_cut(value))}</pre>'


def _block(name: str, html: str) -> str:
    return f'<div class="{name}">{html}</div>'


def _scrolling(table: str, depth: int) -> str:
    """A wide table scrolls by itself, by keyboard too; the page does not."""
    if depth:
        return table
    return f'<div class="wide" tabindex="0" role="group" aria-label="Table">{table}</div>'


def _more(value: Mapping[str, Any] | list[Any]) -> str:
    missing = len(value) - MAX_ROWS
    return f'<p class="empty">… and {missing:,} more</p>' if missing > 0 else ""


def _cut(text: str, limit: int = MAX_RENDERED) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {len(text) - limit:,} more characters"


def _body(value: Any) -> str:
    body = value.get("body", "") if isinstance(value, Mapping) else value
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)


def _is_text(stored: Any) -> bool:
    names = ("Markdown", "HTML", "Text", "str")
    return isinstance(stored, Mapping) and len(stored) == 1 and next(iter(stored)) in names


def _flat(stored: Any) -> str:
    """An upload's envelope as one line."""
    files = stored.get("Upload", {}).get("files") if isinstance(stored, Mapping) else None
    if isinstance(files, list):
        return "uploaded " + ", ".join(str(name) for name in files)
    return json.dumps(stored, ensure_ascii=False)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
