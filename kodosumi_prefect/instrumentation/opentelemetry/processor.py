"""A processor of OpenTelemetry's spans that puts them into the stream of their run."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import StatusCode

from kodosumi_prefect import budgets
from kodosumi_prefect.instrumentation.of_run import record, scope_here
from kodosumi_prefect.instrumentation.opentelemetry.providers import NAME
from kodosumi_prefect.instrumentation.sources import is_off
from kodosumi_prefect.scope import Scope
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spans.otel import Told, begin_of, end_of, told
from kodosumi_prefect.spans.otel.dialects import is_left_out, is_pending
from kodosumi_prefect.spans.recording import OpenSpan, open_span, surroundings
from kodosumi_prefect.spans.span import MODEL_CALLS, SpanType

MOST_OPEN = 100_000  # spans of a process whose end is waited for
MOST_PAST = 10_000  # spans that ended, below which others may begin yet
SECOND = 1_000_000_000  # nanoseconds

logger = logging.getLogger(__name__)


class Known(NamedTuple):
    """A span of OpenTelemetry that began in this process.

    Attributes:
        opened: what code in it is in; of one that is not recorded, that of the one above.
        begin: what was said at its begin, its contents aside; None of one that is not recorded.
    """

    scope: Scope
    opened: OpenSpan | None
    begin: Told | None


class RunSpans(SpanProcessor):
    """Records spans as they begin and end. Nothing that goes wrong here reaches the author's code.

    But a call of a model is refused once a budget of the run is spent, if its span says from its
    begin on what it is, and its instrumentation lets that through.

    A span belongs to the run of the one above it, else to the run that the code works for that
    begins it. It lies below the innermost span that the code is in, be that OpenTelemetry's or one
    of ``tracer.span``.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[int, Known] = OrderedDict()
        self._past: OrderedDict[int, Known] = OrderedDict()
        self._failed = False
        surroundings.append(self._around)

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        """Record its begin.

        Raises:
            BudgetExceededError: it is a call of a model, and a budget of the run is spent.
        """
        try:
            self._begin(span, live=True)
        except budgets.BudgetExceededError:
            raise
        except Exception:
            self._log()

    def on_end(self, span: ReadableSpan) -> None:
        """Record its end."""
        try:
            self._end(span)
        except Exception:
            self._log()

    def _begin(self, span: ReadableSpan, *, live: bool = False) -> Known | None:
        context = span.context
        if context is None or is_off(NAME):
            return None
        above = self._known(span.parent.span_id) if span.parent is not None else None
        scope = above.scope if above is not None else scope_here()
        if scope is None:
            return None
        parent = self._above(scope.fid, above)
        tracer = span.instrumentation_scope
        if is_left_out(tracer.name if tracer is not None else "") or is_pending(_said(span)):
            known = Known(scope, parent, None)
        else:
            begin = told(span.name, _said(span))
            if live and begin.type in MODEL_CALLS:
                budgets.check_here(scope.fid)
            opened = OpenSpan(scope.fid, id_of(context.span_id), parent)
            parent_id = parent.id if parent is not None else None
            record(
                scope,
                begin_of(begin, opened.id, parent_id, get_settings()),
                _seconds(span.start_time),
            )
            # Contents may be large; that there were some is all that its end needs to know.
            begin = begin._replace(input=None if begin.input is None else True, output=None)
            known = Known(scope, opened, begin)
        _keep(self._open, context.span_id, known, MOST_OPEN)
        return known

    def _end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None:
            return
        known = self._open.pop(context.span_id, None)
        if known is None and context.span_id not in self._past:
            known = self._begin(span)  # it began before there was somebody to tell
            self._open.pop(context.span_id, None)
        if known is None:
            return
        _keep(self._past, context.span_id, known, MOST_PAST)
        if known.opened is None or known.begin is None:
            return
        status = span.status
        unset = status.status_code is StatusCode.UNSET
        end = told(
            span.name,
            _said(span),
            [(event.name, event.attributes or {}) for event in span.events],
            failed=None if unset else status.status_code is StatusCode.ERROR,
            description=status.description,
        )
        if end.type is SpanType.LLM:
            end = end._replace(response=end.response or known.opened.response)
        known.opened.end(end.response)
        began, ended = _seconds(span.start_time), _seconds(span.end_time)
        if began is not None and ended is not None:
            ended = max(began, ended)
        payload = end_of(end, known.opened.id, get_settings(), began=began, begin=known.begin)
        record(known.scope, payload, ended)
        if end.type in MODEL_CALLS:
            budgets.called(known.scope.fid)

    def _known(self, span_id: int) -> Known | None:
        return self._open.get(span_id) or self._past.get(span_id)

    def _above(self, fid: str, above: Known | None) -> OpenSpan | None:
        """What a span lies in whose parent is known, or is not.

        That parent, but for spans that ``tracer.span`` and frameworks began in it.
        """
        if above is None or above.opened is None or above.opened.fid != fid:
            return open_span(fid)
        inner = open_span(fid)
        for span in _upwards(inner):
            if span.id == above.opened.id:
                return inner
            if self._is_known(span):
                break
        return above.opened

    def _is_known(self, span: OpenSpan) -> bool:
        try:
            return self._known(int(span.id, 16)) is not None
        except ValueError:
            return False

    def _around(self, fid: str) -> OpenSpan | None:
        """The recorded span that the calling code is in, by OpenTelemetry's context."""
        if not self._open and not self._past:
            return None
        known = self._known(trace.get_current_span().get_span_context().span_id)
        return known.opened if known is not None else None

    def _log(self) -> None:
        if not self._failed:
            self._failed = True
            logger.exception("a span of OpenTelemetry was not recorded; others may be neither")


def id_of(span_id: int) -> str:
    """Our id of a span of OpenTelemetry, which is its own."""
    return f"{span_id:016x}"


def _said(span: ReadableSpan) -> Any:
    return span.attributes or {}


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / SECOND


def _upwards(span: OpenSpan | None) -> Iterator[OpenSpan]:
    while span is not None:
        yield span
        span = span.above


def _keep(kept: "OrderedDict[int, Known]", span_id: int, known: Known, most: int) -> None:
    kept[span_id] = known
    if len(kept) > most:
        kept.popitem(last=False)


processor = RunSpans()
