"""Which provider makes spans is the author's choice; ours only listens.

The global provider can be set once, at any time, and instrumentations may be given others. So none
is set here, and none is looked for: OpenTelemetry's SDK makes every span in ``Tracer.start_span``,
and the first span of each provider, global or not, made before this process had to do with a run or
after, adds our processor behind those that are there. Its exporters, sampler and ids stay as they
are, and what its own processors took out of a span is not seen by ours either.

As long as nobody sets a global provider, the API's proxies make spans that are nothing. They make
ours then, and the author's from the moment on that there is one: nothing is taken from who sets it
later. Prefect's and other tracers that are recorded by other means get nothing, as before.

The SDK is not imported before a span is made or the author imports it, since that takes a tenth of
a second.
"""

import logging
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

from opentelemetry import trace

from kodosumi_prefect.instrumentation.imported import when_imported
from kodosumi_prefect.spans.otel.dialects import is_left_out

SDK = "opentelemetry.sdk.trace"
NAME = "opentelemetry"  # in ``span_sources_off``
_LISTENING = "_kodosumi_listens"  # at what a provider hands its spans to
_OURS = "_kodosumi_tracer"  # at a proxy

logger = logging.getLogger(__name__)


def observe() -> None:
    """Have spans of this process recorded; a second time changes nothing."""
    proxy: Any = trace.ProxyTracer
    get: Any = proxy._tracer.fget
    if getattr(get, "__name__", "") != "tracer_or_ours":
        proxy._tracer = property(_proxied(get))
    when_imported(SDK, _listen)


def _listen() -> None:
    """Have the SDK's tracers add our processor to what they hand their spans to."""
    from opentelemetry.sdk.trace import Tracer

    from kodosumi_prefect.instrumentation.opentelemetry.processor import processor

    start: Any = Tracer.start_span
    if getattr(start, _LISTENING, False):
        return

    @wraps(start)
    def start_span(self: Any, *args: Any, **kwargs: Any) -> Any:
        among = self.span_processor
        if _LISTENING not in among.__dict__:
            _join(among, processor)
        return start(self, *args, **kwargs)

    setattr(start_span, _LISTENING, True)
    Tracer.start_span = start_span  # type: ignore[method-assign]


def _join(among: Any, processor: Any) -> None:
    mine = object()
    if among.__dict__.setdefault(_LISTENING, mine) is not mine:
        return  # another thread did
    try:
        among.add_span_processor(processor)
    except Exception:
        logger.exception("spans of a provider with %r are not recorded", among)


def _proxied(get: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def tracer_or_ours(self: Any) -> Any:
        tracer = get(self)
        if tracer is not self._noop_tracer:
            return tracer
        ours = self.__dict__.get(_OURS)
        if ours is None:
            ours = self.__dict__[_OURS] = _tracer_of(self, tracer)
        return ours

    return tracer_or_ours


def _tracer_of(proxy: Any, noop: Any) -> Any:
    """A tracer of our provider in place of a proxy's; the proxy's own where that is not wanted."""
    name = proxy._instrumenting_module_name
    if is_left_out(name or ""):
        return noop
    try:
        provider = own_provider()
        if provider is None:
            return noop
        return provider.get_tracer(name, proxy._instrumenting_library_version, proxy._schema_url)
    except Exception:
        logger.exception("spans of %s are not recorded", name)
        return noop


_ours: Any = None


def own_provider() -> Any:
    """Ours, which exports nothing; None if the SDK is not installed."""
    global _ours
    if _ours is None and find_spec("opentelemetry.sdk") is not None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        # Conversations that are counted up have more attributes than the default limit.
        limits = SpanLimits(max_attributes=SpanLimits.UNSET, max_events=SpanLimits.UNSET)
        _ours = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.get_empty(),
            shutdown_on_exit=False,
            span_limits=limits,
        )
    return _ours
