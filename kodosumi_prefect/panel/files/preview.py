"""The beginning of a file as HTML that is safe to put into a page; nothing of a file ever runs."""

import csv
from collections.abc import Iterator
from html import escape
from itertools import islice
from typing import Literal, NamedTuple

from kodosumi_prefect.database.rows.files import ListedFile
from kodosumi_prefect.panel.html.markdown import markdown
from kodosumi_prefect.panel.html.values import MAX_COLUMNS, MAX_RENDERED, cut

READ = 512 * 1024  # bytes of a file that are looked at
ROWS = 200  # of a table
CELL = 500  # characters
PICTURE = 32 * 1024**2  # bytes from which on a picture is not shown
PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
DELIMITERS = ",;\t|"

Kind = Literal["text", "markdown", "table", "picture", "pdf", "none"]


class Preview(NamedTuple):
    """What is shown of a file.

    Attributes:
        html: of ``text``, ``markdown`` and ``table``.
        cut: why it is not all; empty if it is.
    """

    kind: Kind
    html: str = ""
    cut: str = ""


def picture_type(start: bytes) -> str | None:
    """The media type of a picture that browsers draw, by its first bytes; no SVG, which can run."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for first, kind in PICTURES.items() if start.startswith(first)), None)


def previewed(file: ListedFile, start: bytes) -> Preview:
    """What is shown of a file that begins so; HTML and SVG are text like any other.

    Arguments:
        start: its first ``READ`` bytes.
    """
    if picture_type(start) is not None:
        return Preview("picture" if file.size <= PICTURE else "none")
    if start.startswith(b"%PDF-"):
        return Preview("pdf")
    text = _text(start, whole=file.size <= len(start))
    if text is None:
        return Preview("none")
    cut_ = "" if file.size <= len(start) else f"The first {READ // 1024} kB of it."
    suffix = file.path.rpartition(".")[2].lower()
    if suffix in ("md", "markdown") and len(text) <= MAX_RENDERED:
        return Preview("markdown", markdown(text), cut_)
    if suffix in ("csv", "tsv") or file.media_type in ("text/csv", "text/tab-separated-values"):
        table = _table(text, "\t" if suffix == "tsv" else None, bool(cut_))
        if table is not None:
            return table
    if len(text) > MAX_RENDERED:
        text, cut_ = text[:MAX_RENDERED], f"The first {MAX_RENDERED:,} characters of it."
    return Preview("text", f'<pre class="text" tabindex="0">{escape(text)}</pre>', cut_)


def _text(start: bytes, *, whole: bool) -> str | None:
    """What it says, if it is text."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return start[: len(start) // 2 * 2].decode("utf-16", "replace")
    if b"\x00" in start:
        return None
    try:
        return start.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        if not whole and exc.start >= len(start) - 3:  # a character is cut in two
            return start[: exc.start].decode("utf-8-sig")
    text = start.decode("latin-1")
    odd = sum(1 for character in text if not (character.isprintable() or character in "\r\n\t\f"))
    return text if odd * 50 <= len(text) else None


def _table(text: str, delimiter: str | None, is_cut: bool) -> Preview | None:
    """The first rows of a table; None for what is none."""
    head = text[:10_000].splitlines()[:20]
    if delimiter is None:
        first = head[0] if head else ""
        delimiter = max(DELIMITERS, key=first.count)
    try:
        rows = list(islice(_rows(text, delimiter), ROWS + 2))
    except csv.Error:
        return None
    if not rows:
        return None
    more = len(rows) > ROWS + 1
    shown = rows[: ROWS + 1]
    if is_cut and not more:
        shown = shown[:-1] or shown  # the last one may be half
    width = min(max(map(len, shown)), MAX_COLUMNS)
    lines = [_line(row, width, "td") for row in shown[1:]]
    html = (
        '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>'
        f"<thead>{_line(shown[0], width, 'th')}</thead><tbody>{''.join(lines)}</tbody>"
        "</table></div>"
    )
    words = f"The first {ROWS} rows of it." if more else ("Its first rows." if is_cut else "")
    if max(map(len, shown)) > width:
        words = f"{words} The first {width} columns.".strip()
    return Preview("table", html, words)


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    # A field may have line breaks in it, so lines keep theirs.
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    return (row for row in reader if row)


def _line(row: list[str], width: int, tag: str) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    cells = [*row[:width], *[""] * (width - len(row))]
    return (
        f"<tr>{''.join(f'<{tag}{scope}>{escape(cut(cell, CELL))}</{tag}>' for cell in cells)}</tr>"
    )
