"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 0.05  # of what was waited for so far, until the next look: looks take processor time
SELDOM = 0.25  # seconds between two looks at the most


def wait_for(
    condition: Callable[[], T],
    seconds: float = 30.0,
    what: str = "the condition",
    every: float = 0.02,
) -> T:
    """Look until ``condition()`` is true, and return what it returned.

    Arguments:
        every: seconds between two looks at first; the longer it takes, the fewer there are.

    Raises:
        AssertionError: it did not come true within ``seconds``.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"{what} did not come true within {seconds} s"
        time.sleep(max(every, min(PATIENCE * waited, SELDOM)))
    return found
