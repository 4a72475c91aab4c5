"""Messages to the workers of a database, by NOTIFY."""

import json
from typing import Literal, NamedTuple, cast


class Message(NamedTuple):
    """Something that workers should know now.

    Attributes:
        what: ``wake``: there is a run for the work pool ``whom``; ``drain``: the worker ``whom``
            shall take nothing new and end when its runs have.
    """

    what: Literal["wake", "drain"]
    whom: str

    def payload(self) -> str:
        """As the notification carries it."""
        return json.dumps({self.what: self.whom})


def parse(payload: str) -> Message | None:
    """The message of a notification; None for what a later version may send."""
    try:
        [(what, whom)] = json.loads(payload).items()
    except (ValueError, AttributeError):
        return None
    if what not in ("wake", "drain") or not isinstance(whom, str):
        return None
    return Message(cast('Literal["wake", "drain"]', what), whom)
