"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SOON = 0.02  # seconds between the first looks
PATIENCE = 0.05  # of what was waited for so far, until the next look: looks take processor time
SELDOM = 0.1  # seconds between two looks at the most


def wait_for(
    condition: Callable[[], T],
    seconds: float = 30.0,
    what: str = "the condition",
    every: float | None = None,
) -> T:
    """Look until ``condition()`` is true, and return what it returned.

    Arguments:
        every: seconds between two looks; without it, the fewer, the longer it takes.

    Raises:
        AssertionError: it did not come true within ``seconds``.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"{what} did not come true within {seconds} s"
        seldom = max(SOON, min(PATIENCE * waited, SELDOM))
        time.sleep(seldom if every is None else every)
    return found
