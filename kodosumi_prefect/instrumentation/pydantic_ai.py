"""Pydantic AI: its own instrumentation, which makes spans of OpenTelemetry.

They are made by our provider, so that nothing is exported that was not before; an author who calls
``Agent.instrument_all`` or sets ``agent.instrument`` has the last word.
"""

from opentelemetry.metrics import NoOpMeterProvider
from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings

from kodosumi_prefect._compat.pydantic_ai import instrumented_by_author
from kodosumi_prefect.instrumentation.opentelemetry.providers import own_provider


def switch_on() -> None:
    """Instrument all agents that the author did not."""
    provider = own_provider()
    if provider is None or instrumented_by_author():
        return
    settings = InstrumentationSettings(tracer_provider=provider, meter_provider=NoOpMeterProvider())
    Agent.instrument_all(settings)
