"""Values as HTML: tables, lists, data frames and plain text, each cut to what a page bears."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

MAX_RENDERED = 200_000  # characters; what is longer is shown as text and cut
MAX_ROWS = 500  # of a table or list
MAX_COLUMNS = 40
MAX_NESTING = 6


def value_html(value: Any, depth: int) -> str:
    """Any value as JSON has it: a table, a list, a data frame or text."""
    if isinstance(value, Mapping):
        if is_frame(value):
            return _frame(value)
        if depth >= MAX_NESTING:
            return preformatted(json.dumps(value, ensure_ascii=False, indent=2))
        return table(value, depth) if value else '<p class="empty">empty</p>'
    if isinstance(value, list):
        return list_html(value, depth)
    if isinstance(value, str) and ("\n" in value or len(value) > 200):
        return preformatted(value)
    return f"<p>{scalar(value)}</p>"


def table(value: Mapping[str, Any], depth: int) -> str:
    """A mapping as a table of two columns."""
    rows = "".join(
        f'<tr><th scope="row">{escape(cut(str(key), 300))}</th><td>{_cell(item, depth)}</td></tr>'
        for key, item in list(value.items())[:MAX_ROWS]
    )
    return _scrolling(f'<table class="fields"><tbody>{rows}</tbody></table>', depth) + more(value)


def list_html(value: list[Any], depth: int) -> str:
    """A list of plain values: a table if they are mappings, else bullets."""
    if not value:
        return '<p class="empty">empty</p>'
    if depth >= MAX_NESTING:
        return preformatted(json.dumps(value, ensure_ascii=False, indent=2))
    visible = value[:MAX_ROWS]
    if all(isinstance(item, Mapping) and item for item in visible):
        return _records(visible, depth) + more(value)
    items = "".join(f"<li>{_cell(item, depth)}</li>" for item in visible)
    return f"<ul>{items}</ul>" + more(value)


def _records(rows: list[Any], depth: int) -> str:
    """Mappings as a table with a column for each key they have."""
    columns = list(dict.fromkeys(key for row in rows for key in row))[:MAX_COLUMNS]
    head = "".join(f'<th scope="col">{escape(cut(str(c), 300))}</th>' for c in columns)
    body = "".join(
        f"<tr>{''.join(_td(row[c], depth) if c in row else '<td></td>' for c in columns)}</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return _scrolling(table, depth)


def is_frame(value: Any) -> bool:
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


def _frame(value: Mapping[str, Any]) -> str:
    """The rows of a data frame that are kept, and how many it has."""
    (rows, width), data, index = value["shape"], value["data"], value.get("index")
    columns = value["columns"][:MAX_COLUMNS]
    head = "".join(f'<th scope="col">{escape(cut(str(name), 300))}</th>' for name in columns)
    corner = "<td></td>" if index is not None else ""
    lines = []
    for number, row in enumerate(data):
        label = f'<th scope="row">{scalar(index[number])}</th>' if index is not None else ""
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
        return value_html(value, depth + 1)
    if isinstance(value, list):
        if (
            value
            and all(not isinstance(item, Mapping | list) for item in value)
            and len(value) < 20
        ):
            return ", ".join(scalar(item) for item in value)
        return list_html(value, depth + 1)
    if isinstance(value, str) and "\n" in value:
        return preformatted(value)
    return scalar(value)


def scalar(value: Any) -> str:
    """A single value; None, booleans and numbers in words and digits for people."""
    match value:
        case None:
            return '<span class="none">none</span>'
        case True | False:
            return "yes" if value else "no"
        case int():
            return f"{value:d}"
        case float():
            return f"{value:.12g}"
    return escape(cut(str(value)))


def preformatted(value: str) -> str:
    """Text with its line breaks and spaces."""
    return f'<pre class="text">{escape(cut(value))}</pre>'


def _scrolling(table: str, depth: int) -> str:
    """A wide table scrolls by itself, by keyboard too; the page does not."""
    if depth:
        return table
    return f'<div class="wide" tabindex="0" role="group" aria-label="Table">{table}</div>'


def more(value: Mapping[str, Any] | list[Any]) -> str:
    """How many rows are left out; empty if none."""
    missing = len(value) - MAX_ROWS
    return f'<p class="empty">… and {missing:,} more</p>' if missing > 0 else ""


def cut(text: str, limit: int = MAX_RENDERED) -> str:
    """At most ``limit`` characters, and how many more there are."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {len(text) - limit:,} more characters"
