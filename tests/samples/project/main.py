"""A flow in a package, named by its module: it imports relatively, and has last words."""

import atexit
from pathlib import Path
from typing import Any

import rich.progress
from prefect import flow
from rich.console import Console

from .words import WORD


def note(notes: str, line: str) -> None:
    with Path(notes).open("a") as file:
        file.write(f"{line}\n")


def hook(flow: Any, flow_run: Any, state: Any) -> None:
    from .words import WORD

    note(flow_run.parameters["notes"], f"hook {state.name} {WORD}")


@flow(log_prints=True, on_completion=[hook])
def main(notes: str) -> str:
    Console().print(f"[bold]in[/bold] {__name__}", {"a": 1})
    for _ in rich.progress.track(range(3), "working"):
        pass
    atexit.register(note, notes, "atexit")
    note(notes, f"file {Path(__file__).name} {__package__}")
    return WORD
