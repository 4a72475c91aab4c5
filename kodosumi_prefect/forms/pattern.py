"""Patterns of HTML, checked on the server."""

import logging
from functools import lru_cache

import regex

logger = logging.getLogger(__name__)

MATCH_SECONDS = 0.25  # seconds; a pattern that backtracks for longer counts as not matched


def fits(pattern: str, text: str) -> bool:
    """Whether all of ``text`` matches, as in HTML's ``pattern``.

    Sets nest and ``\\d`` and ``\\w`` are ASCII, as under JavaScript's ``v`` flag. A pattern that is
    none is ignored, as browsers do. One that takes too long counts as not matched: nobody can hold
    up a service with a text made for it.
    """
    compiled = _compiled(pattern)
    if compiled is None:
        return True
    try:
        return compiled.fullmatch(text, timeout=MATCH_SECONDS, concurrent=True) is not None
    except TimeoutError:
        logger.warning("the pattern %.200r takes too long to match; make it simpler", pattern)
        return False


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> "regex.Pattern[str] | None":
    try:
        return regex.compile(pattern, regex.V1 | regex.ASCII)
    except regex.error as exc:
        logger.warning("the pattern %.200r is ignored: %s", pattern, exc)
        return None
