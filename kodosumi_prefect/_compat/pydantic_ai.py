"""Whether Pydantic AI's agents are instrumented already."""

from pydantic_ai import Agent


def instrumented_by_author() -> bool:
    """Whether ``Agent.instrument_all`` was called."""
    return Agent._instrument_default is not False
