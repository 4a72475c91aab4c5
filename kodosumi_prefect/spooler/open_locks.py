"""The open locks of one execution, and what its events do to them."""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from kodosumi_prefect.events import clean
from kodosumi_prefect.spooler.rows import LATEST_TS

LONGEST_ID = 100  # characters of a lock's id; ours have 36
MOST_NAMES = 50  # of one question or step; authors get an error for more
LONGEST_NAME = 200  # characters
LONGEST_WAIT = 366 * 86400.0  # seconds until a step
MOST_ANSWERS = 50

Ended = Literal["leased", "expired", "void"]


class Asked(NamedTuple):
    """The part of a ``lock`` event that is about people.

    Attributes:
        asked: who may answer, lower case; None for the owner.
        quorum: how many people have to answer.
        on_expiry: JSON of what the run gets at the deadline; None for an error.
        link: links may be made with which it is answered.
        plan: JSON of the steps to follow: ``step, number, after`` in seconds, ``recipients``.
    """

    asked: list[str] | None
    quorum: int
    on_expiry: str | None
    link: bool
    plan: str


class NewLock(NamedTuple):
    """A lock as its ``lock`` event describes it.

    Attributes:
        lid: its id.
        attempt: of the execution, that waits for it.
        data: JSON text of what the author gave along; None for nothing.
        elements: JSON text of the form, if it came along.
        opened: seconds since the epoch.
        expires: likewise.
        state: ``void`` if nobody waits for it any more, such as after the end.
        title: what people call it, in place of its name.
        question: what is asked, in markdown.
        people: who is asked, and what follows; None if that is not said.
    """

    lid: str
    name: str
    attempt: int
    data: str | None
    elements: str | None
    opened: float
    expires: float
    state: Literal["open", "void"] = "open"
    title: str | None = None
    question: str | None = None
    people: Asked | None = None


class Answer(NamedTuple):
    """What a human answered.

    Attributes:
        result: what the run gets, as it is stored.
        by: id of the role that answered.
    """

    result: str
    by: str


class OpenLocks:
    """Follows the locks of one execution through the events of a batch.

    Arguments:
        open_locks: attempt by id of those that are open.
    """

    def __init__(self, open_locks: Mapping[str, int] | None = None) -> None:
        self._open = dict(open_locks or {})
        self.opened: dict[str, NewLock] = {}
        self.ended: dict[str, Ended] = {}
        self.answers: dict[str, Answer] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, lid: object) -> bool:
        return lid in self._open

    def open(self, lock: NewLock) -> None:
        """A lock was opened."""
        if lock.lid in self._open or lock.lid in self.opened:
            return
        self.opened[lock.lid] = lock
        if lock.state == "open":
            self._open[lock.lid] = lock.attempt

    def end(self, lid: str, state: Ended) -> bool:
        """A lock is no longer open; False if it was not."""
        if self._open.pop(lid, None) is None:
            return False
        self.ended[lid] = state
        return True

    def answer(self, lid: str, answer: Answer) -> None:
        """A lock that is open was answered."""
        self.end(lid, "leased")
        self.answers[lid] = answer

    def forget(self, lid: str) -> None:
        """A lock could not be stored, so that nobody can answer it."""
        self._open.pop(lid, None)
        self.ended.pop(lid, None)

    def void(self, before: int | None = None) -> bool:
        """End all locks, or those of attempts before one; whether there were any."""
        over = [lid for lid, at in self._open.items() if before is None or at < before]
        for lid in over:
            self.end(lid, "void")
        return bool(over)


def lock_fields(payload: str) -> dict[str, Any]:
    """What a ``lock`` or ``lease`` event contains; empty if it is not in our format."""
    try:
        fields = json.loads(payload)["dict"]
    except (ValueError, TypeError, KeyError):
        return {}
    lid = fields.get("lid") if isinstance(fields, dict) else None
    return fields if isinstance(lid, str) and 0 < len(lid) <= LONGEST_ID else {}


def new_lock(payload: str, ts: float, attempt: int) -> NewLock | None:
    """The lock that a ``lock`` event opens; None if the event lacks it."""
    fields = lock_fields(payload)
    expires = fields.get("expires")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        return None
    if not (0 <= expires < LATEST_TS and 0 <= ts < LATEST_TS):
        return None
    data, elements = fields.get("data"), fields.get("elements")
    return NewLock(
        clean(fields["lid"]),
        clean(str(fields.get("name") or "")),
        attempt,
        None if data is None else json.dumps(data),
        None if elements is None else json.dumps(elements),
        ts,
        expires,
        title=_words(fields.get("title")),
        question=_words(fields.get("question")),
        people=_people(fields),
    )


_OF_PEOPLE = ("ask", "remind", "escalate", "quorum", "on_expiry", "link")


def _people(fields: Mapping[str, Any]) -> Asked | None:
    """What ``locks.asking`` put into the event; what is odd in it counts as not given."""
    if not any(name in fields for name in _OF_PEOPLE):
        return None
    asked = _names(fields.get("ask"))
    plan: list[dict[str, Any]] = []
    if asked:
        plan.append({"step": "asked", "number": 0, "after": 0, "recipients": asked})
    for number, after in enumerate(_list(fields.get("remind"))):
        if _is_wait(after):
            step = {"step": "reminded", "number": number, "after": after, "recipients": []}
            plan.append(step)
    for number, each in enumerate(_list(fields.get("escalate"))):
        to = _names(each.get("to")) if isinstance(each, dict) else []
        if to and _is_wait(each.get("after")):
            step = {"number": number, "after": each["after"], "recipients": to}
            plan.append({"step": "escalated", **step})
    quorum = fields.get("quorum")
    return Asked(
        asked or None,
        quorum if type(quorum) is int and 1 <= quorum <= MOST_ANSWERS else 1,
        json.dumps(fields["on_expiry"]) if "on_expiry" in fields else None,
        fields.get("link") is True,
        json.dumps(plan),
    )


def _list(value: Any) -> list[Any]:
    return value[:MOST_NAMES] if isinstance(value, list) else []


def _names(value: Any) -> list[str]:
    names = [name for name in _list(value) if isinstance(name, str)]
    return [clean(name) for name in names if 0 < len(name) <= LONGEST_NAME]


def _is_wait(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= LONGEST_WAIT


def _words(value: Any) -> str | None:
    return clean(value) if isinstance(value, str) and value.strip() else None
