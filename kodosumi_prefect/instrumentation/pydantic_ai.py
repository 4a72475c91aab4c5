"""Pydantic AI: its own instrumentation, which makes spans of OpenTelemetry.

They are made by the provider of the moment, the author's or, as long as there is none, ours; an
author who calls ``Agent.instrument_all`` or ``agent.instrument`` has the last word.
"""

from pydantic_ai import Agent

from kodosumi_prefect._compat.pydantic_ai import instrumented_by_author


def switch_on() -> None:
    """Instrument all agents that the author did not."""
    if not instrumented_by_author():
        Agent.instrument_all()
