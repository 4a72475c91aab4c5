"""Rows of locks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LockQuestion:
    """A row of ``answerable_locks``: what a lock asks, and which execution does.

    Attributes:
        name: what its service knows it by.
        title: what people call it; None for the name.
        question: what is asked, in markdown.
        elements: its form as JSON text; None if its service has it, or there is none.
        data: what the run gave along with its question, as JSON text.
        fid, owner, summary, flow_name, app_url: of its execution.
        opened, expires: epoch seconds.
    """

    lid: str
    name: str
    title: str | None = None
    question: str | None = None
    elements: str | None
    data: str | None
    fid: str
    owner: str | None
    summary: str | None
    flow_name: str | None
    app_url: str | None
    opened: float
    expires: float

    @property
    def heading(self) -> str:
        """What people call it."""
        return self.title or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock(LockQuestion):
    """A row of ``lock``, which may be open or not.

    Attributes:
        state: ``open``, ``leased``, ``expired`` or ``void``.
        attempt: the one that waits for it.
        inputs, status: of its execution.
        superseded: its execution is at a later attempt.
        over: its time is up.
    """

    state: str
    attempt: int
    inputs: str | None
    status: str
    superseded: bool
    over: bool


@dataclass(frozen=True, slots=True)
class LockId:
    """A row of ``answerable_lock_ids``."""

    lid: str
    fid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOutcome:
    """A row of ``outcomes_of_locks``.

    Attributes:
        state: ``open``, ``leased``, ``expired`` or ``void``.
        opened, expires: epoch seconds.
        answered: likewise; None if it is not.
        waits: it can be answered.
        answered_by: the account's name, if there is one still.
    """

    lid: str
    state: str
    opened: float
    expires: float
    answered: float | None
    waits: bool
    answered_by: str | None
