"""Calls that a framework tells of: each is a span, from what it says at its begin and its end.

Whatever goes wrong here is told in the log once, and never reaches the framework.
"""

import functools
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar, cast

from kodosumi_prefect.budgets import BudgetExceededError
from kodosumi_prefect.instrumentation.of_run import span_here
from kodosumi_prefect.instrumentation.sources import is_off
from kodosumi_prefect.spans.recording import OpenSpan, Span
from kodosumi_prefect.spans.span import Usage

MOST_OPEN = 10_000  # calls of a process whose end is waited for; older ones never end

logger = logging.getLogger(__name__)
Told = TypeVar("Told", bound=Callable[..., Any])
Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")


class _Recent(Generic[Key, Kept]):
    """The newest of what is kept by a key; what is never taken out does not fill the memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._lock = Lock()

    def __setitem__(self, key: Key, value: Kept) -> None:
        with self._lock:
            self._kept[key] = value
            if len(self._kept) > MOST_OPEN:
                self._kept.popitem(last=False)

    def get(self, key: Key) -> Kept | None:
        return self._kept.get(key)

    def newest_last(self) -> list[Key]:
        with self._lock:
            return list(self._kept)

    def pop(self, key: Key) -> Kept | None:
        with self._lock:
            return self._kept.pop(key, None)


class Calls(Generic[Key]):
    """Calls of one framework that began and have not ended, by its own ids.

    Arguments:
        source: its name in ``settings.areas.spans.SOURCES``.
        refusing: what is raised at the begin of a call of a model keeps the framework from making
            it, so that a spent budget does.
    """

    def __init__(self, source: str, *, refusing: bool = False) -> None:
        self.source = source
        self.refusing = refusing
        self._open = _Recent[Key, Span]()
        self._passed = _Recent[Key, OpenSpan]()
        self._failed: set[str] = set()

    def begin(
        self,
        key: Key,
        name: str | None,
        type: str,
        input: Any = None,
        *,
        above: Key | None = None,
        id_: str | None = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> Span | None:
        """A call begins; None if it is outside of runs, or turned off.

        Arguments:
            above: the call that the framework says it is part of.
            id_: of the span, where it has to be known before.
        """
        if is_off(self.source):
            return None
        span = span_here(
            name or model or type,
            type,
            input,
            model=model,
            provider=provider,
            refusing=self.refusing,
        )
        if span is None:
            return None
        span.begin(around=self.span_of(above), id_=id_)
        self._open[key] = span
        return span

    def pass_over(self, key: Key, above: Key | None) -> None:
        """A call that is no span: what lies within it lies within the one above."""
        if (span := self.span_of(above)) is not None:
            self._passed[key] = span

    def end(
        self,
        key: Key,
        *,
        input: Any = None,
        output: Any = None,
        error: BaseException | str | None = None,
        model: str | None = None,
        provider: str | None = None,
        usage: Usage | None = None,
        response: str | None = None,
    ) -> Span | None:
        """A call ended; None if nothing is known of its begin."""
        self._passed.pop(key)
        span = self._open.pop(key)
        if span is None:
            return None
        span.set(
            input=input,
            output=output,
            model=model,
            provider=provider,
            usage=usage,
            response=response,
        )
        if isinstance(error, str):
            span.set(error=error)
        span.end(error if isinstance(error, BaseException) else None)
        return span

    def open_keys(self) -> list[Key]:
        """Of the calls that are open, in the order in which they began."""
        return self._open.newest_last()

    def span_of(self, key: Key | None) -> OpenSpan | None:
        """The span of a call, for what lies within it."""
        if key is None:
            return None
        span = self._open.get(key)
        return span.opened if span is not None else self._passed.get(key)

    def harmless(self, told: Told) -> Told:
        """A function that the framework calls: what it raises goes to the log, once.

        But for what refuses a call of a model, which the framework may heed.
        """

        @functools.wraps(told)
        def called(*args: Any, **kwargs: Any) -> Any:
            try:
                return told(*args, **kwargs)
            except BudgetExceededError:
                raise
            except Exception:
                if told.__qualname__ not in self._failed:
                    self._failed.add(told.__qualname__)
                    logger.warning(
                        "a span of %s is not recorded, and others may not be; the run goes on",
                        self.source,
                        exc_info=True,
                    )
                return None

        return cast("Told", called)
