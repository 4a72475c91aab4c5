"""How Prefect 3.8.8's engine learns that its run is cancelled: an intent, and an exception.

The handler of SIGTERM raises a ``TerminationSignal`` wherever the main thread is. Code of others
may lose it (what ``__del__`` raises is ignored, libraries written in C make an error of their own
of it) or be left half done, as a module whose import it broke off.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

from prefect._internal import control_listener
from prefect.exceptions import TerminationSignal
from prefect.utilities import engine
from prefect.utilities.engine import _prefect_sigterm_handler, commit_control_intent_and_ack

CANCEL: Final = "cancel"

RAISED = "TerminationSignal"  # by what the handler of SIGTERM finds it

# The attribute of a signal's handler that calls another one when it can.
STANDS_IN_FOR = "stands_in_for"

_alive: "WeakSet[TerminationSignal]" = WeakSet()


class _Followed(TerminationSignal):
    """One of which is known whether anybody still has it."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        _alive.add(self)


def commit_to_cancel() -> bool:
    """Have Prefect's engine take the next SIGTERM for a cancellation; False until it listens.

    A handler that stands in for Prefect's for a while has that one as its ``STANDS_IN_FOR``.
    """
    if commit_control_intent_and_ack(
        commit_intent=lambda: control_listener._set_intent(CANCEL),
        clear_intent=control_listener.clear_intent,
        send_ack=lambda: None,
    ):
        return True
    replaced = getattr(signal.getsignal(signal.SIGTERM), STANDS_IN_FOR, None)
    if replaced is not _prefect_sigterm_handler:
        return False
    control_listener._set_intent(CANCEL)
    return True


def is_cancelled() -> bool:
    """Whether this process was told that its run is cancelled."""
    return control_listener.get_intent() == CANCEL


def under_way() -> bool:
    """Whether what a signal raised is still on its way, or is being handled, by anybody's code."""
    return bool(_alive)


@contextmanager
def signals_followed() -> Iterator[None]:
    """Have ``under_way`` know of signals."""
    replaced = _replaced(engine, RAISED, _Followed)
    try:
        yield
    finally:
        replaced()


@contextmanager
def cancelled_by_any_error() -> Iterator[None]:
    """Have a cancelled run end as Cancelled, with its hooks, whatever became of the signal's error.

    Prefect's engine would take it for a failure or a crash, which Prefect's server refuses.
    """
    # Its import sets up Prefect's logging, which services do not want.
    from prefect.flow_engine import AsyncFlowRunEngine, FlowRunEngine

    restores: list[Callable[[], None]] = []
    for kind in (FlowRunEngine, AsyncFlowRunEngine):
        restores += [_failing(kind), _crashing(kind)]
    try:
        yield
    finally:
        for restore in restores:
            restore()


def _failing(kind: Any) -> Callable[[], None]:
    original = kind.handle_exception

    def handle_exception(self: Any, exc: Exception, *args: Any, **kwargs: Any) -> Any:
        if is_cancelled():
            raise _Followed(signal.SIGTERM) from exc
        return original(self, exc, *args, **kwargs)

    return _replaced(kind, "handle_exception", handle_exception)


def _crashing(kind: Any) -> Callable[[], None]:
    original = kind.handle_crash

    def handle_crash(self: Any, exc: BaseException) -> Any:
        if is_cancelled():
            return self.handle_cancellation(_Followed(signal.SIGTERM))
        return original(self, exc)

    return _replaced(kind, "handle_crash", handle_crash)


def _replaced(place: Any, name: str, replacement: Any) -> Callable[[], None]:
    original = getattr(place, name)
    setattr(place, name, replacement)
    return lambda: setattr(place, name, original)
