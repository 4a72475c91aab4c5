"""Files of frameworks that this environment has not are not collected.

They are split over two environments, since they cannot all live in one: the one of the other
tests, and the one that `requirements.lock` in this folder pins.
"""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.frameworks.wire_server import Wire, wire_server

NEEDED = {
    "test_anthropic_spans.py": ("anthropic", "openinference.instrumentation.anthropic"),
    "test_crewai_spans.py": ("crewai",),
    "test_crewai_reviews.py": ("crewai",),
    "test_langchain_spans.py": ("langchain", "langgraph", "langchain_openai"),
    "test_openai_agents_spans.py": ("agents",),
    "test_openai_spans.py": ("openai", "openinference.instrumentation.openai"),
    "test_pydantic_ai_spans.py": ("pydantic_ai",),
}


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False


collect_ignore = [file for file, names in NEEDED.items() if not all(map(_installed, names))]


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A server of models that answers what it is told to."""
    with wire_server() as wire:
        yield wire
