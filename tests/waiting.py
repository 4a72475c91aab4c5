"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T],
    seconds: float = 30.0,
    what: str = "the condition",
    every: float = 0.02,
) -> T:
    """Look until ``condition()`` is true, and return what it returned.

    Arguments:
        every: seconds between two looks.

    Raises:
        AssertionError: it did not come true within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(every)
    return found
