"""Waits for Ray that signals, Prefect's timeouts and its cancellations interrupt."""

import concurrent.futures
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ray

SLICE = 0.1  # seconds a thread waits before it can be interrupted


def is_over(
    future: "concurrent.futures.Future[Any]",
    timeout: float | None = None,
    given_up: Callable[[], bool] = lambda: False,
) -> bool:
    """Wait until ``future`` is done, at most ``timeout`` seconds; whether it is.

    Arguments:
        given_up: whether to wait no longer; asked each moment.
    """
    # Prefect interrupts other threads, and the main one if it has an alarm handler already (of an
    # outer timeout), with an exception that a blocking wait would not see; Ray's own waits none.
    deadline = None if timeout is None else time.monotonic() + timeout
    while not future.done():
        left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
        if left <= 0 or given_up():
            return False
        concurrent.futures.wait([future], left)
    return True


def fetch(ref: "ray.ObjectRef[Any]", timeout: float | None = None) -> Any:
    """What ``ref`` refers to.

    Raises:
        TimeoutError: it is not in this process within ``timeout`` seconds.
        Exception: what Ray says if there is nothing to fetch.
    """
    future = ref.future()
    if not is_over(future, timeout):
        raise TimeoutError
    return future.result()
