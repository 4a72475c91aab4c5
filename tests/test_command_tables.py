"""Tables of commands: a line a row, ids whole, in a narrow terminal and for programs."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from kodosumi_prefect.cli import tables

ROW = ["11-29 23:30", Text("error", style="red"), "914ee512", "a report " + "of many words " * 20]


@pytest.mark.parametrize("terminal", [True, False])
def test_ids_are_whole_and_only_a_terminal_cuts_text(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    file = io.StringIO()
    console = Console(file=file, width=60, force_terminal=terminal, color_system=None)
    monkeypatch.setattr(tables, "console", console)
    tables.print_table(
        ["began", "status", "id", "what"], [ROW, ROW], whole=["began", "status", "id"]
    )
    heading, first, second = (line.rstrip() for line in file.getvalue().splitlines())
    assert heading.split() == ["began", "status", "id", "what"]
    assert first == second
    assert first.startswith("11-29 23:30  error   914ee512  a report")
    assert first.endswith("…" if terminal else "of many words")
