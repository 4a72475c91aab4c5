"""What the panel answers, typed. Times are seconds since the epoch."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from kodosumi_prefect.response import HTML, Markdown, Text

Status = Literal["starting", "running", "awaiting", "finished", "error"]
# Elements whose value nobody has typed or seen yet.
_NEVER_SHOWN = {"submit", "cancel", "action", "file", "password", "errors"}
_SHOWN: dict[str, type[HTML] | type[Markdown] | type[Text]] = {
    "HTML": HTML,
    "Markdown": Markdown,
    "Text": Text,
}


class _Answered:
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def of(cls, answer: Mapping[str, Any], **more: Any) -> Self:
        """From an answer of the panel, which may be newer and tell more."""
        known = cls.__dataclass_fields__
        return cls(**{name: value for name, value in answer.items() if name in known}, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(_Answered):
    """What can be launched; ``url`` is its address at the panel."""

    uid: str
    method: str
    url: str
    summary: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    author: str | None = None
    organization: str | None = None
    deprecated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution(_Answered):
    """How an execution stands.

    Attributes:
        timestamp: when it was last heard of.
        final: the stored envelope of its result, as JSON; of a failed run the message.
        locks: ids of its open locks.
        usage: what its spans add up to.
        links: pages of Prefect.
    """

    fid: str
    status: Status
    timestamp: float
    final: str | None = None
    summary: str | None = None
    description: str | None = None
    tags: list[str]
    author: str | None = None
    organization: str | None = None
    version: str | None = None
    app_url: str | None = None
    entry_point: str | None = None
    username: str | None = None
    locks: list[str]
    usage: dict[str, Any]
    links: dict[str, str | None]

    @property
    def over(self) -> bool:
        """Whether it has ended, for now: it can be retried."""
        return self.status in ("finished", "error")

    @property
    def value(self) -> Any:
        """Its result as ``decoded``; None while there is none."""
        return None if self.final is None else decoded(self.final)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(_Answered):
    """An execution in a list; ``startup`` and ``finish`` are in ISO 8601."""

    fid: str
    status: Status
    summary: str | None = None
    tags: list[str]
    inputs: dict[str, Any] | None = None
    startup: str
    finish: str | None = None
    runtime: float | None = None
    locks: list[str]


@dataclass(frozen=True, slots=True)
class Event:
    """An event of an execution.

    Attributes:
        seq: its number, from 1 on; ``follow`` goes on behind it.
        payload: as it is stored: an envelope as JSON, or text.
    """

    seq: int
    timestamp: float
    kind: str
    payload: str

    @property
    def value(self) -> Any:
        """The payload as ``decoded``, of text itself."""
        return decoded(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock(_Answered):
    """A question that waits for an answer; ``elements``: its form, if the run brought it."""

    fid: str
    lid: str
    name: str
    title: str | None = None
    question: str | None = None
    summary: str | None = None
    opened: float
    expires: float | None = None
    elements: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile(_Answered):
    """A file of an execution; ``path`` begins with ``in/`` or ``out/``, ``size`` in bytes."""

    path: str
    size: int
    last_modified: float
    sha256: str
    media_type: str | None = None
    attempt: int | None = None
    task_run: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionChange(_Answered):
    """An execution as it is now.

    Attributes:
        position: behind this change; ``changes`` goes on from it.
        cancelled: its status is ``error``, since it was cancelled.
        state: the name of its state in Prefect.
        service: address of the service that launched it.
        cost: US dollars, of the calls whose price is known.
    """

    position: str
    fid: str
    status: Status
    cancelled: bool
    state: str | None
    attempt: int
    summary: str | None
    flow: str | None
    service: str | None
    tags: list[str]
    username: str | None
    error: str | None
    open_locks: int
    files: int
    cost: float
    input_tokens: int
    output_tokens: int
    archived: bool
    created: float
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChange(_Answered):
    """A lock as it is now; ``position`` as of ``ExecutionChange``."""

    position: str
    fid: str
    lid: str
    name: str
    title: str | None
    status: Literal["open", "leased", "expired", "void"]
    summary: str | None
    flow: str | None
    service: str | None
    opened: float
    expires: float
    answered: float | None
    answered_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion(_Answered):
    """An execution that is no longer there; ``position`` as of ``ExecutionChange``."""

    position: str
    fid: str


Change = ExecutionChange | LockChange | Deletion
CHANGES: dict[str, type[ExecutionChange] | type[LockChange] | type[Deletion]] = {
    "execution": ExecutionChange,
    "lock": LockChange,
    "deletion": Deletion,
}


def shown(elements: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What a form is filled in with as it is shown, as a browser would post it."""
    filled: dict[str, Any] = {}
    for element in elements:
        name, value = element.get("name"), element.get("value")
        if element.get("type") == "select":
            chosen = [one["name"] for one in element.get("option") or () if one.get("value")]
            value = chosen[0] if chosen else value
        if not name or value in (None, False) or element.get("type") in _NEVER_SHOWN:
            continue
        filled[name] = "on" if element.get("type") == "boolean" else value
    return filled


def decoded(text: str) -> Any:
    """The value of a stored envelope; what is none, the text itself.

    ``dict``, ``str``, ``int``, ``float``, ``bool`` and lists are themselves, ``Markdown``, ``HTML``
    and ``Text`` those of ``kodosumi_prefect.response``, models the ``dict`` of their fields.
    """
    try:
        envelope = json.loads(text)
    except ValueError:
        return text
    return _value(envelope, text)


def _value(envelope: Any, otherwise: Any) -> Any:
    if not isinstance(envelope, dict) or len(envelope) != 1:
        return otherwise
    [(name, inner)] = envelope.items()
    if name == "__list__" and isinstance(inner, list):
        return [_value(each, each) for each in inner]
    if name in _SHOWN and isinstance(inner, dict):
        return _SHOWN[name](body=str(inner.get("body") or ""))
    if name == "TypeError" and inner == "None":  # how nothing is stored
        return None
    return inner
