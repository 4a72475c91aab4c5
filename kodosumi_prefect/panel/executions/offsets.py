"""Points in time of a run, counted from its start: as people read them, and as they type them."""

import re

from kodosumi_prefect.stream.rows import StoredExecution

MOST = 10 * 365 * 86_400.0  # seconds that somebody may ask for

_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,4}):(\d{1,2}(?:\.\d{1,6})?)")
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|min|m|h|d)?\s*")


def began(row: StoredExecution) -> float:
    """Epoch seconds from which a run's offsets count: when it first ran, else was created."""
    return (row.started_at or row.created_at).timestamp()


def offset_words(seconds: float) -> str:
    """``+12.345``, from a minute on ``+1:30.000``, from an hour on ``+1:00:00.000``."""
    sign = "-" if seconds < 0 else "+"
    milliseconds = round(abs(seconds) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 1000}.{rest % 1000:03}"
    if not hours and not minutes:
        return f"{sign}{tail}"
    tail = tail.rjust(6, "0")
    return f"{sign}{hours}:{minutes:02}:{tail}" if hours else f"{sign}{minutes}:{tail}"


def read_offset(text: str) -> float | None:
    """Seconds of ``+90s``, ``90``, ``1:30``, ``1:02:03.5`` or ``1h 30m``; None of anything else."""
    text = text.strip().lower().removeprefix("+").strip()
    if found := _CLOCK.fullmatch(text):
        seconds = int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3])
        return min(seconds, MOST)
    seconds, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or (part[2] is None and (at or part.end() < len(text))):
            return None
        seconds += float(part[1]) * _UNITS[part[2] or "s"]
        at = part.end()
    return min(seconds, MOST) if text else None
