"""HTML of events in one line of plain words."""

import re
from html import unescape

_TAG = re.compile(r"<[^>]*>")


def plain_line(html: str, limit: int = 160) -> str:
    """What HTML that ``render`` made says, without tags, in one line; ``execution.js`` does too."""
    text = " ".join(unescape(_TAG.sub(" ", html[: 20 * limit])).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def size_words(size: float) -> str:
    """Bytes in their largest unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
