"""What is stored of an action: small, and never a secret."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from kodosumi_prefect.events import clean
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome

Means = Literal["session", "key", "proxy", "password", "cli", "start", "link", "schedule"]

LONGEST = 400  # characters of an id or name; four bytes each fit into a row of an index
LONGEST_AGENT = 160  # characters of a user agent
LONGEST_ADDRESS = 64  # characters
LONGEST_DETAILS = 4000  # characters as JSON


class Target(NamedTuple):
    """What something was done to; ``kind`` is execution, lock, account, source and so on."""

    kind: str
    id: str | None = None
    name: str | None = None


class Actor(NamedTuple):
    """Who did it: an account's id and name, or only a name that is none of an account."""

    id: str | None
    name: str | None


class Key(NamedTuple):
    """The API key with which it was done."""

    id: str
    name: str


@dataclass(slots=True)
class Entry:
    """An action to be recorded.

    Attributes:
        outcome: None until the answer's status decides it.
        details: a few plain values: names of what was changed, never what was typed.
    """

    action: Action
    target: Target | None = None
    outcome: Outcome | None = None
    actor: Actor | None = None
    means: Means | None = None
    key: Key | None = None
    address: str | None = None
    user_agent: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """The columns of its row, cleaned and cut."""
        target = self.target or Target("")
        actor = self.actor or Actor(None, None)
        return {
            "action": self.action.value,
            "outcome": (self.outcome or Outcome.OK).value,
            "actor_id": cut(actor.id),
            "actor_name": cut(actor.name),
            "means": self.means,
            "key_id": cut(self.key.id if self.key else None),
            "key_name": cut(self.key.name if self.key else None),
            "address": cut(self.address, LONGEST_ADDRESS),
            "user_agent": cut(self.user_agent, LONGEST_AGENT),
            "target_kind": cut(target.kind),
            "target_id": cut(target.id),
            "target_name": cut(target.name),
            "details": _bounded(self.details),
        }


def public_url(url: str) -> str:
    """An address without a password and a query, which may hold a token."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path, "…" if parts.query else "", ""))


def cut(text: str | None, longest: int = LONGEST) -> str | None:
    """As Postgres can store it, with an ellipsis where it was longer; None if there is nothing."""
    if not text:
        return None
    storable = clean(text[: longest + 1])
    return storable if len(storable) <= longest else storable[: longest - 1] + "…"


def _bounded(details: dict[str, Any]) -> dict[str, Any]:
    storable: dict[str, Any] = json.loads(
        clean(json.dumps(details, ensure_ascii=False, default=str))
    )
    return storable if len(json.dumps(storable)) <= LONGEST_DETAILS else {"cut": True}
