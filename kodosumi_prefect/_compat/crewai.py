"""CrewAI's stack of events, and who is asked where a task has ``human_input``."""

from collections.abc import Generator
from contextlib import contextmanager

from crewai.core.providers import human_input
from crewai.core.providers.human_input import SyncHumanInputProvider
from crewai.events.event_context import _event_id_stack

AGENTS = ("agent_execution_started", "lite_agent_execution_started")


def events_around() -> tuple[str, ...]:
    """The ids of the events that began and did not end in the calling code, innermost last.

    An agent is run by a flow of CrewAI's own, directly below it, which is left out.
    """
    stack = _event_id_stack.get()
    kinds = ("", *[kind for _, kind in stack])
    return tuple(
        [
            event_id
            for (event_id, kind), outer in zip(stack, kinds, strict=False)
            if kind != "flow_started" or outer not in AGENTS
        ]
    )


@contextmanager
def outside_innermost() -> Generator[None, None, None]:
    """Inside the block the calling code is where it was before its innermost event began."""
    token = _event_id_stack.set(_event_id_stack.get()[:-1])
    try:
        yield
    finally:
        _event_id_stack.reset(token)


def ask_by_default(provider: type[SyncHumanInputProvider]) -> None:
    """Have ``human_input`` ask this provider where the author set none."""
    human_input.SyncHumanInputProvider = provider
