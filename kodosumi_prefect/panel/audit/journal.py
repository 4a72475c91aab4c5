"""What one request has to be recorded for."""

from typing import Any

from kodosumi_prefect.panel.audit.entry import Actor, Entry, Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome


class Journal:
    """The entries of one request, which are stored before it is answered.

    Without any, the rule of the request's route in ``rules`` is recorded.

    Attributes:
        nothing: the request did nothing, so neither is that.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.nothing = False

    def has_nothing(self) -> None:
        """Have nothing recorded: what was requested was done, and recorded, before."""
        self.entries.clear()
        self.nothing = True

    def record(
        self,
        action: Action,
        target: Target | None = None,
        *,
        outcome: Outcome | None = None,
        actor: Actor | None = None,
        **details: Any,
    ) -> Entry:
        """Have an action recorded.

        Arguments:
            outcome: if the answer's status does not decide it; may also be set later.
            actor: if it is not who sent the request.
            details: a few plain values: names of what was changed, never what was typed.
        """
        entry = Entry(action, target, outcome, actor, details=details)
        self.entries.append(entry)
        return entry
