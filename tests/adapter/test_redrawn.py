"""What is drawn over itself becomes few events, and its last state is always one."""

import io
import random

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.text import Text
from tqdm import tqdm

from kodosumi_prefect.adapter.redrawn import REDRAW_SECONDS, ROWS_MOST, Lines

pytestmark = pytest.mark.pure


class Screen(io.StringIO):
    """A terminal whose text becomes events."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lines = Lines(lambda: self.now)
        self.events: list[str] = []

    def write(self, text: str) -> int:
        self.events += self.lines.write(text)
        return len(text)

    def end(self) -> list[str]:
        self.events += self.lines.finish()
        return [Text.from_ansi(event).plain for event in self.events]


def console(screen: Screen) -> Console:
    return Console(file=screen, force_terminal=True, width=60, color_system=None)


def test_several_bars_of_rich_are_one_event_a_burst() -> None:
    screen = Screen()
    with Progress(console=console(screen), auto_refresh=False) as progress:
        one, two = progress.add_task("one", total=100), progress.add_task("two", total=100)
        for step in range(100):
            progress.advance(one)
            progress.advance(two, 0.5)
            progress.refresh()
            screen.now += REDRAW_SECONDS / 10
            if step == 50:
                screen.now += REDRAW_SECONDS
    events = screen.end()
    assert 10 <= len(events) <= 14
    assert all("one" in event and "two" in event for event in events[1:])
    assert "one" in events[-1] and "100%" in events[-1] and "50%" in events[-1]
    assert len(events) == len(set(events))


def test_what_is_printed_above_live_bars_is_recorded_once() -> None:
    screen = Screen()
    with Progress(console=console(screen), auto_refresh=False) as progress:
        bars = [progress.add_task(name, total=10) for name in ("one", "two", "three")]
        for step in range(10):
            for bar in bars:
                progress.advance(bar)
            progress.refresh()
            progress.console.print(f"line {step}")
            screen.now += REDRAW_SECONDS
    screen.write("after\n")
    lines = [line for event in screen.end() for line in event.split("\n")]
    assert [line for line in lines if line.startswith("line")] == [f"line {n}" for n in range(10)]
    assert lines[-1] == "after"
    assert "100%" in lines[-2]


def test_bars_of_tqdm_below_each_other() -> None:
    screen = Screen()
    bars = [
        tqdm(total=5, desc=name, position=n, file=screen, mininterval=0, ascii=True, ncols=60)
        for n, name in enumerate(("first", "second"))
    ]
    for _ in range(5):
        for bar in bars:
            bar.update()
    for bar in bars:
        bar.close()
    events = screen.end()
    assert len(events) <= 4
    assert "5/5" in "\n".join(events[-2:])
    assert {name for name in ("first", "second") if name in "\n".join(events)} == {
        "first",
        "second",
    }


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_plain_lines_are_events_as_they_were_written(size: int) -> None:
    screen = Screen()
    text = "".join(f"line {n}\n" for n in range(50)) + "without an end"
    for start in range(0, len(text), size):
        screen.write(text[start : start + size])
    assert "\n".join(screen.end()) == text


def test_one_bar_keeps_its_last_state() -> None:
    screen = Screen()
    for n in range(100):
        screen.write(f"\r{n} %")
    screen.write("\rdone\nnext\n")
    assert screen.end() == ["done\nnext"]


def test_a_drawing_without_end_is_bounded_and_loses_no_row() -> None:
    screen = Screen()
    screen.write("\x1b[A")
    for n in range(10 * ROWS_MOST):
        screen.write(f"\rrow {n}\n\x1b[K")
    lines = [line for event in screen.end() for line in event.split("\n")]
    assert {f"row {n}" for n in range(10 * ROWS_MOST)} <= set(lines)


def test_whatever_is_written_it_raises_nothing() -> None:
    dice = random.Random(5)
    pieces = [
        "\x1b[A",
        "\x1b[99A",
        "\x1b[2K",
        "\x1b[K",
        "\r",
        "\n",
        "text",
        "\x1b[?25l",
        "\x1b[",
        "é",
    ]
    for _ in range(200):
        screen = Screen()
        for _ in range(60):
            screen.write("".join(dice.choices(pieces, k=3)))
            screen.now += dice.random()
        screen.end()
