"""What is left of text that a program draws over itself: progress bars, live tables."""

import re
import time
from collections.abc import Callable

REDRAW_SECONDS = 1.0  # between two events of a drawing that goes on
ROWS_MOST = 200  # rows of a drawing that can still be drawn over, as a tall terminal has
PARTIAL_MOST = 8192  # characters without a newline that are kept back

# Up some rows; erase in the row (to its end, to its start, all of it); show or hide the cursor.
_CONTROL = re.compile(r"\x1b\[(\d*)([AK])|\x1b\[\?25[lh]|[\r\n]")
_UP = re.compile(r"\x1b\[\d*A")


class Lines:
    """Makes events of the text that one thread writes to one stream, piece by piece.

    Whole lines are an event at once; a line without its newline waits for it. Text that moves the
    cursor up, as several progress bars of rich or tqdm do, is drawn over the rows above it: what
    stands there is one event at most once in `REDRAW_SECONDS`, and its last state always is.

    Arguments:
        clock: of seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._partial = ""
        self._drawing: _Drawing | None = None

    @property
    def pending(self) -> bool:
        """Whether some text waits for what follows it."""
        return self._drawing is not None or bool(self._partial)

    def write(self, text: str) -> list[str]:
        """Take a piece of text; returns the texts of the events that it completes."""
        if self._drawing is None:
            if _UP.search(text) is None:
                return self._whole_lines(text)
            self._drawing, self._partial = _Drawing(self._partial), ""
        elif _is_plain(text):
            events = self._drawing.finish(text.removesuffix("\n"))
            self._drawing = None
            return events
        return self._drawing.write(text, self._clock())

    def finish(self) -> list[str]:
        """The texts of the last events: what is left without a newline."""
        drawing, self._drawing = self._drawing, None
        partial, self._partial = self._partial, ""
        if drawing is not None:
            return drawing.finish()
        return [last] if (last := partial.rpartition("\r")[2]) else []

    def _whole_lines(self, text: str) -> list[str]:
        whole, newline, rest = (self._partial + text).rpartition("\n")
        events = [without_overwritten(whole)] if newline else []
        # A progress bar rewrites its line; only its last text is worth an event.
        rest = rest.rpartition("\r")[2] if "\r" in rest[:-1] else rest
        if len(rest) > PARTIAL_MOST:
            events.append(rest)
            rest = ""
        self._partial = rest
        return events


class _Drawing:
    """Rows of a terminal that are drawn over, and where the cursor is."""

    def __init__(self, first: str) -> None:
        self._rows = [first.rpartition("\r")[2]]
        self._row = 0
        self._overwrites = False  # the cursor is at the start of its row
        self._told: list[str] | None = None
        self._told_at = float("-inf")

    def write(self, text: str, now: float) -> list[str]:
        events: list[str] = []
        end = 0
        for control in _CONTROL.finditer(text):
            self._put(text[end : control.start()])
            end = control.end()
            if control[2] == "A":
                self._row = max(0, self._row - int(control[1] or 1))
                events += self._let_go(self._row)  # what is above is not reached any more
            elif control[2] == "K" and control[1] in ("1", "2"):
                self._rows[self._row] = ""
            elif control[0] == "\r":
                self._overwrites = True
            elif control[0] == "\n":
                self._next_row()
        self._put(text[end:])
        if (most := len(self._rows) - ROWS_MOST) > 0 and self._row >= most:
            events += self._let_go(most)
        if self._rows != self._told and now - self._told_at >= REDRAW_SECONDS:
            events += _event(self._rows)
            self._told, self._told_at = list(self._rows), now
        return events

    def finish(self, more: str = "") -> list[str]:
        """The last state, unless it was an event already, and what follows it."""
        drawn = [] if self._rows == self._told else _event(self._rows)
        return drawn + _event(more.split("\n"))

    def _put(self, text: str) -> None:
        if not text:
            return
        before = "" if self._overwrites else self._rows[self._row]
        self._rows[self._row] = before + text
        self._overwrites = False

    def _next_row(self) -> None:
        self._row += 1
        self._overwrites = False
        if self._row == len(self._rows):
            self._rows.append("")

    def _let_go(self, count: int) -> list[str]:
        rows, self._rows = self._rows[:count], self._rows[count:]
        self._row -= count
        told, self._told = self._told, None
        if told is not None and told[:count] == rows:
            return []
        return _event(rows)


def without_overwritten(text: str) -> str:
    """Lines without what a carriage return had written over."""
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _is_plain(text: str) -> bool:
    """Whether these are whole lines with text, and nothing that moves the cursor otherwise."""
    return (
        text.endswith("\n") and bool(text.strip()) and not _CONTROL.search(text.replace("\n", ""))
    )


def _event(rows: list[str]) -> list[str]:
    text = "\n".join(rows).strip("\n")
    return [text] if text else []
