"""Lists in the terminal: a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kodosumi_prefect.cli.output import console

_OF_PROGRAMS = 10_000  # columns


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
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        width = max(cell_len(str(row[number])) for row in rows) if heading in whole else None
        table.add_column(heading, no_wrap=True, overflow="ellipsis", min_width=width)
    for row in rows:
        table.add_row(*row)
    if console.is_terminal:
        console.print(table)
    else:  # a program, which wants lines as they are
        Console(width=_OF_PROGRAMS, highlight=False, file=console.file).print(table)
