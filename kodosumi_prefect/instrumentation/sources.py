"""The libraries that spans come from, and when each is switched on.

To add one: its name in ``settings.areas.spans.SOURCES``, by which people turn it off, and a line
in ``SOURCES`` here. Its function is called with nothing, once a process, as soon as the library is
imported (at once if it is), and records by ``of_run``. A failure of it is logged and costs the run
nothing.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from kodosumi_prefect.instrumentation.imported import when_imported
from kodosumi_prefect.settings import get_settings

logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """A library that spans come from.

    Attributes:
        name: as in the setting ``span_sources_off``; None if it is not about spans.
        library: the module whose import says that the library is used.
        switch: ``module:function`` that has it recorded.
    """

    name: str | None
    library: str
    switch: str


_HERE = "kodosumi_prefect.instrumentation"
SOURCES = (
    # Its API, which Prefect imports; the SDK may never be.
    Source("opentelemetry", "opentelemetry.trace", f"{_HERE}.opentelemetry.providers:observe"),
    Source("crewai", "crewai", f"{_HERE}.crewai:switch_on"),
    Source("crewai", "crewai", f"{_HERE}.crewai_budgets:switch_on"),
    Source(None, "crewai.core.providers.human_input", f"{_HERE}.crewai_reviews:switch_on"),
    Source("langchain", "langchain_core.callbacks.manager", f"{_HERE}.langchain:switch_on"),
    Source("openai-agents", "agents.tracing", f"{_HERE}.openai_agents:switch_on"),
    Source("pydantic-ai", "pydantic_ai", f"{_HERE}.pydantic_ai:switch_on"),
    Source("openai", "openai", f"{_HERE}.provider_sdks:switch_on_openai"),
    Source("anthropic", "anthropic", f"{_HERE}.provider_sdks:switch_on_anthropic"),
    Source("langchain", "langchain_core.language_models", f"{_HERE}.langchain_budgets:switch_on"),
    Source(None, "openai", f"{_HERE}.provider_budgets:switch_on_openai"),
    Source(None, "anthropic", f"{_HERE}.provider_budgets:switch_on_anthropic"),
)


def switch_on() -> None:
    """Have all libraries recorded that settings do not turn off, now or when they are imported."""
    for source in SOURCES:
        if not is_off(source.name):
            when_imported(source.library, _switched(source))


def is_off(name: str | None) -> bool:
    """Whether spans of a library are not recorded here and now."""
    settings = get_settings()
    return not settings.enabled or name in settings.span_sources_off


def _switched(source: Source) -> Callable[[], None]:
    def switch() -> None:
        module, _, function = source.switch.partition(":")
        try:
            getattr(import_module(module), function)()
        except Exception:
            logger.exception("%s does not fit this version of %s", source.switch, source.library)

    return switch
