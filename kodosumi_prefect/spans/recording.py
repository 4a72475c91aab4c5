"""Spans as authors write them: a context manager and a decorator."""

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, cast

from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.events import plain
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.contents import kept, kept_error, mark_quoting
from kodosumi_prefect.spans.span import (
    MODEL_CALLS,
    SpanStatus,
    SpanType,
    Usage,
    begin_payload,
    end_payload,
    new_id,
    type_of,
)

Record = Callable[[str], object]  # puts the payload of a ``span`` event into the stream
Called = TypeVar("Called", bound=Callable[..., Any])


class OpenSpan:
    """A span that code is or was in, of whichever run.

    Attributes:
        above: the one it lies in, as far as this process knows.
        ended: code that is left in a span that ended is in the one above.
        response: the provider's id of the answer that a call directly below it got: libraries that
            build on a provider's SDK do not all tell it, and tell of the same call.
    """

    __slots__ = ("above", "ended", "fid", "id", "response")

    def __init__(self, fid: str, id_: str, above: "OpenSpan | None" = None) -> None:
        self.fid = fid
        self.id = id_
        self.above = above
        self.ended = False
        self.response: str | None = None

    def end(self, response: str | None = None) -> None:
        """It ended, with the provider's answer of this id."""
        self.ended = True
        if response is not None and self.above is not None:
            self.above.response = response

    def lies_in(self, other: "OpenSpan") -> bool:
        """Whether it is the other one, or is below it."""
        span: OpenSpan | None = self
        while span is not None:
            if span.id == other.id:
                return True
            span = span.above
        return False


_current: ContextVar[OpenSpan | None] = ContextVar("kodosumi_span", default=None)
# Ways to find the span of a framework that the calling code is in; upper layers add theirs.
surroundings: list[Callable[[str], OpenSpan | None]] = []


def open_span(fid: str, *, around: OpenSpan | None = None) -> OpenSpan | None:
    """The innermost span of this execution that the calling code is in.

    Arguments:
        around: one that the code is in, too.
    """
    span = _of_run(fid, _current.get())
    for find in surroundings:
        if (found := find(fid)) is not None:
            span = _inner(span, _of_run(fid, found))
    return span if around is None else _inner(span, _of_run(fid, around))


def _inner(span: OpenSpan | None, other: OpenSpan | None) -> OpenSpan | None:
    """Of two spans that code is in the one that does not lie in the other."""
    return other if other is not None and (span is None or not span.lies_in(other)) else span


def current_span(fid: str) -> str | None:
    """The id of the innermost span of this execution that the calling code is in."""
    span = open_span(fid)
    return span.id if span is not None else None


def enter_span(fid: str, id_: str) -> None:
    """Be in a span of another process for the rest of the calling context."""
    _current.set(OpenSpan(fid, id_))


def _of_run(fid: str, span: OpenSpan | None) -> OpenSpan | None:
    while span is not None and span.ended:
        span = span.above
    return span if span is not None and span.fid == fid else None


def _nothing() -> None:
    """What comes before and after a call where nobody cares."""


class Place(NamedTuple):
    """Where spans go.

    Attributes:
        parent: of a span that has none in the calling code.
        check, check_async: called before a call of a model; may refuse it by raising.
        called: called after one.
    """

    fid: str
    record: Record
    settings: Settings
    parent: str | None
    check: Callable[[], None] = _nothing
    check_async: Callable[[], Awaitable[None]] | None = None
    called: Callable[[], None] = _nothing


class Span:
    """A part of what an agent does, from its begin to its end; made by ``Tracer.span``.

    As a context manager, also with ``async with``, it is what happens in the block. As a decorator
    it is each call of the function, with the arguments as input and what it returns as output.

    Example:
        ```python
        with tracer.span("search", type="tool", input={"query": query}) as span:
            hits = search(query)
            span.set(output=hits)
        ```

    Attributes:
        id: known from its begin on.
        opened: what code that is in it knows; from its begin on.
    """

    # Of most spans these stay as they are.
    id: str | None = None
    opened: OpenSpan | None = None
    _late_input: Any = None
    _output: Any = None
    _usage: Usage | None = None
    _cost: float | None = None
    _response: str | None = None
    _error: str | None = None
    _place: Place | None = None
    _checked = False
    _began = 0.0
    _token: Token[OpenSpan | None] | None = None

    def __init__(
        self,
        place: Callable[[], Place],
        name: str | None,
        type: str = SpanType.CUSTOM,
        input: Any = None,
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        self._make_place = place
        self._name = name
        self._type = type_of(type)
        self._input = input
        self._model = model
        self._provider = provider

    def set(
        self,
        *,
        input: Any = None,
        output: Any = None,
        model: str | None = None,
        provider: str | None = None,
        usage: Usage | Mapping[str, int | None] | None = None,
        cost: float | None = None,
        response: str | None = None,
        error: str | None = None,
    ) -> Self:
        """Say more about it, at any time before its end; what is None is as said before.

        Arguments:
            input: what went in, where that was not known at its begin.
            output: what came out.
            model: which one answered.
            usage: tokens, as ``Usage`` or under its names; ``input`` includes ``cached``
                and ``written``.
            cost: US dollars, where the price is known better than by the model's name.
            response: the provider's id of its answer: two spans of one answer are counted once.
            error: why it failed, though nothing was raised.
        """
        self._late_input = self._late_input if input is None else input
        self._output = self._output if output is None else output
        self._model = model or self._model
        self._provider = provider or self._provider
        if usage is not None:
            self._usage = usage if isinstance(usage, Usage) else _usage(usage)
        self._cost = self._cost if cost is None else cost
        self._response = response or self._response
        self._error = error or self._error
        return self

    def begin(self, *, around: OpenSpan | None = None, id_: str | None = None) -> Self:
        """Begin it without a block; ``end`` has to follow, in whichever thread.

        Arguments:
            around: a span that it lies in, whether or not the calling code knows of that.
            id_: its id, where it has to be known before.

        Raises:
            BudgetExceededError: it is a call of a model, and a budget of the run is spent.
        """
        place = self._place = self._make_place()
        if self._type in MODEL_CALLS and not self._checked:
            place.check()
        self.id = id_ = id_ or new_id()
        if self._input is None:
            self._input, self._late_input = self._late_input, None
        above = open_span(place.fid, around=around)
        self.opened = OpenSpan(place.fid, id_, above)
        self._began = time.time()
        self._name = name = plain(self._name or self._model or self._type)
        place.record(
            begin_payload(
                id_,
                name,
                self._type,
                parent=above.id if above is not None else place.parent,
                model=self._model,
                provider=self._provider,
                contents=kept(self._input, "input", name, place.settings),
            )
        )
        return self

    def end(self, exc: BaseException | None = None) -> None:
        """End it; a second time does nothing.

        Arguments:
            exc: what it failed by, or was cancelled by.
        """
        place = self._place
        if place is None or self.id is None:
            return
        self._place = None
        if self.opened is not None:
            if self._type is SpanType.LLM:
                self._response = self._response or self.opened.response
            self.opened.end(self._response)
        status, error = _status(exc, self._error)
        if exc is not None:
            mark_quoting(exc, place.settings)
        name = self._name or ""
        late = self._late_input if self._input is None else None
        place.record(
            end_payload(
                self.id,
                status,
                began=self._began,
                model=self._model,
                provider=self._provider,
                response=self._response,
                usage=self._usage,
                cost=self._cost,
                contents=kept(self._output, "output", name, place.settings),
                input_contents=kept(late, "input", name, place.settings),
                error=kept_error(error, name, place.settings),
            )
        )
        if self._type in MODEL_CALLS:
            place.called()

    def __enter__(self) -> Self:
        self._token = _current.set(self.begin().opened)
        return self

    def step_in(self) -> None:
        """Have the calling code be in it, until it ends or ``step_out``."""
        _current.set(self.opened)

    def step_out(self) -> None:
        """Have the calling code be where it was, if it is in this very span."""
        if self.opened is not None and _current.get() is self.opened:
            _current.set(self.opened.above)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            token, self._token = self._token, None
            with suppress(ValueError):  # of a generator that was closed in another context
                _current.reset(token)
        self.end(exc)

    @contextmanager
    def around_pieces(self) -> Generator[Callable[[], AbstractContextManager[None]], None, None]:
        """It for code that runs in pieces, as a generator's: what is given is entered for each.

        Whoever reads a generator is not in its span.
        """
        span = self.begin().opened

        @contextmanager
        def inside() -> Generator[None, None, None]:
            token = _current.set(span)
            try:
                yield
            finally:
                _current.reset(token)

        try:
            yield inside
        except BaseException as exc:
            self.end(exc)
            raise
        self.end()

    async def __aenter__(self) -> Self:
        check = self._make_place().check_async if self._type in MODEL_CALLS else None
        if check is not None:
            await check()
            self._checked = True
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    def __call__(self, called: Called) -> Called:
        """Have each call of a function, a coroutine function or a generator be such a span."""
        signature = inspect.signature(called)

        def one(args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Span":
            given = self._input
            if given is None:
                try:
                    given = dict(signature.bind(*args, **kwargs).arguments)
                except TypeError:  # the call itself will say so
                    given = None
                else:
                    given.pop("self", None)
            name = self._name or getattr(called, "__name__", None)
            return Span(self._make_place, name, self._type, given, self._model, self._provider)

        wrapper: Any
        if inspect.iscoroutinefunction(called):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                async with one(args, kwargs) as span:
                    output = await called(*args, **kwargs)
                    span.set(output=output)
                    return output

        elif inspect.isasyncgenfunction(called):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                items = called(*args, **kwargs)
                with one(args, kwargs).around_pieces() as inside:
                    try:
                        while True:
                            with inside():
                                try:
                                    item = await anext(items)
                                except StopAsyncIteration:
                                    return
                            yield item
                    finally:
                        await items.aclose()

        elif inspect.isgeneratorfunction(called):

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                items = called(*args, **kwargs)
                with one(args, kwargs).around_pieces() as inside:
                    try:
                        while True:
                            with inside():
                                try:
                                    item = next(items)
                                except StopIteration as end:
                                    return end.value
                            yield item
                    finally:
                        items.close()

        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with one(args, kwargs) as span:
                    output = called(*args, **kwargs)
                    span.set(output=output)
                    return output

        return cast("Called", functools.wraps(called)(wrapper))


def _usage(said: Mapping[str, int | None]) -> Usage:
    if unknown := set(said) - set(Usage._fields):
        names = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"usage names {names}: use some of {', '.join(Usage._fields)}")
    return Usage(**said)


def _status(exc: BaseException | None, error: str | None) -> tuple[str, str | None]:
    if exc is None or isinstance(exc, GeneratorExit):
        return (SpanStatus.OK, None) if error is None else (SpanStatus.ERROR, error)
    if isinstance(exc, asyncio.CancelledError | KeyboardInterrupt):
        return SpanStatus.CANCELLED, error
    return SpanStatus.ERROR, error or error_line(exc)
