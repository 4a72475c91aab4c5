"""OpenAI's and Anthropic's SDKs: an instrumentation of them that is installed is switched on.

Its spans are made by our provider, so that nothing is exported that was not before. One that the
author switched on stays as it is, and if the author does later, that takes the place of ours.
"""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider

from kodosumi_prefect.instrumentation.opentelemetry.providers import own_provider
from kodosumi_prefect.spans.otel.dialects import leave_out

# Modules with an instrumentor, and its name; of those that are installed the first one is taken.
OPENAI = (
    ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
    ("opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
)
ANTHROPIC = (
    ("openinference.instrumentation.anthropic", "AnthropicInstrumentor"),
    ("opentelemetry.instrumentation.anthropic", "AnthropicInstrumentor"),
)
ANTHROPICS_OWN = "com.anthropic.sdk.python"  # the SDK's own tracer, whose spans have no contents


def switch_on_openai() -> None:
    """Have calls of OpenAI's SDK recorded."""
    _switch_on(OPENAI)


def switch_on_anthropic() -> None:
    """Have calls of Anthropic's SDK recorded, once each."""
    if _switch_on(ANTHROPIC):
        leave_out(ANTHROPICS_OWN)


def _switch_on(candidates: Iterable[tuple[str, str]]) -> bool:
    """Whether it was switched on here."""
    provider = own_provider()
    instrumentors: list[Any] = [
        getattr(import_module(module), name)()
        for module, name in candidates
        if _is_installed(module)
    ]
    if provider is None or any(one.is_instrumented_by_opentelemetry for one in instrumentors):
        return False
    for instrumentor in instrumentors:
        instrumentor.instrument(tracer_provider=provider, meter_provider=NoOpMeterProvider())
        # Of versions of the SDK that it does not know it says so in the log, and does nothing.
        if instrumentor.is_instrumented_by_opentelemetry:
            _give_way_to_author(instrumentor)
            return True
    return False


def _give_way_to_author(ours: Any) -> None:
    """There is one instrumentor of each class in a process; whoever switches it on gets it."""
    instrument = ours.instrument

    def give_way(**how: Any) -> Any:
        del ours.instrument
        ours.uninstrument()
        return instrument(**how)

    ours.instrument = give_way


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False
