"""Which part of a file a request wants, and whether it has that already (RFC 9110)."""

import re
from typing import NamedTuple

_ONE = re.compile(r"bytes=\s*(\d{0,20})\s*-\s*(\d{0,20})\s*")


class Span(NamedTuple):
    """Bytes from ``start`` to before ``end``."""

    start: int
    end: int


class UnsatisfiableError(Exception):
    """No byte of the file is in the range."""


def etag_of(sha256: str) -> str:
    """The strong entity tag of a content."""
    return f'"{sha256}"'


def names(tags: str | None, etag: str) -> bool:
    """Whether an ``If-None-Match`` names this content."""
    if tags is None:
        return False
    every = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    return "*" in every or etag in every


def span_of(range_: str | None, if_range: str | None, etag: str, size: int) -> Span | None:
    """The part that a ``Range`` names; None for all of it, also for several parts at once.

    Raises:
        UnsatisfiableError: it begins behind the end.
    """
    if range_ is None or (if_range is not None and if_range.strip() != etag):
        return None
    match = _ONE.fullmatch(range_.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # so many bytes at the end
        length = min(int(last), size)
        if not length:
            raise UnsatisfiableError
        return Span(size - length, size)
    start, end = int(first), int(last) + 1 if last else size
    if last and end <= start:
        return None  # no range at all
    if start >= size:
        raise UnsatisfiableError
    return Span(start, min(end, size))
