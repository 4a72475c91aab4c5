"""Lists in the terminal: a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from kodosumi_prefect.cli.output import console

_GAP = "  "
_LEAST = 8  # columns that text keeps, however narrow the terminal is


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    console.out(json.dumps(value, ensure_ascii=False, indent=2, default=str), highlight=False)


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str | Text]], whole: Sequence[str] = ()
) -> None:
    """A table, a line a row; what is too long for the terminal is cut, apart from ids.

    Arguments:
        whole: headings of columns that are never cut.
    """
    cells = [
        [Text(heading, style="bold") for heading in headings],
        *([_text(c) for c in row] for row in rows),
    ]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    if console.is_terminal:
        _narrow(widths, [heading in whole for heading in headings], console.width)
    for row in cells:
        line = Text(_GAP).join(
            _fitted(cell, width) for cell, width in zip(row, widths, strict=True)
        )
        line.rstrip()
        console.print(line, soft_wrap=True)


def _text(cell: str | Text) -> Text:
    return cell.copy() if isinstance(cell, Text) else Text(cell)


def _width(cell: Text) -> int:
    return cell.cell_len


def _narrow(widths: list[int], whole: Sequence[bool], columns: int) -> None:
    """Take what is too much from the widest columns that may be cut."""
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - columns
    while excess > 0:
        widest = max((width, number) for number, width in enumerate(widths) if not whole[number])
        if widest[0] <= _LEAST:
            return
        widths[widest[1]] -= 1
        excess -= 1


def _fitted(cell: Text, width: int) -> Text:
    if cell.justify == "right":
        cell.align("right", width)
    cell.truncate(width, overflow="ellipsis", pad=True)
    return cell
