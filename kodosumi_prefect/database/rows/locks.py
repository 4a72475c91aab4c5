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
        asked: who is asked, in lower case: ``owner``, ``team:`` and its name, ``@`` and the id of
            an account, or its name; None for the owner.
        quorum: how many people have to answer.
        link: links may be made with which it is answered.
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
    asked: list[str] | None = None
    quorum: int = 1
    link: bool = False

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
        handed_on: ids of accounts that had others asked in their place.
        on_expiry: JSON of what the run gets at the deadline; None for an error.
        is_asked: the account is, for which the row was read.
        has_answered: it has answered, of several that the lock needs.
    """

    state: str
    attempt: int
    inputs: str | None
    status: str
    superseded: bool
    over: bool
    handed_on: list[str]
    on_expiry: str | None
    is_asked: bool
    has_answered: bool


@dataclass(frozen=True, slots=True)
class LockId:
    """A row of ``answerable_lock_ids`` or ``overdue_locks``."""

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
    asked: list[str] | None
    quorum: int


@dataclass(frozen=True, slots=True)
class DueStep:
    """A row of ``due_lock_steps``; ``step`` is ``asked``, ``reminded`` or ``escalated``."""

    fid: str
    lid: str
    step: str
    number: int


@dataclass(frozen=True, slots=True)
class PersonAsked:
    """A row of ``people_asked``: an account that a name stands for, or None."""

    reference: str
    id: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """A row of ``answers_of_lock``: one answer of several, as JSON text or sealed."""

    who: str
    who_name: str | None
    result: str | None
    visible_result: str | None


@dataclass(frozen=True, slots=True)
class LockStep:
    """A row of ``lock_steps``: what was done about a lock.

    Attributes:
        step: ``asked``, ``reminded``, ``escalated``, ``delegated``, ``answered``, ``joined`` or
            ``left``.
        at: epoch seconds.
        who_name: who did it; None for the schedule of the lock.
        means: ``session``, ``key``, ``proxy`` or ``link``.
        recipients: whom it was about, in the author's words.
        reached: the names of the accounts that these were then.
    """

    fid: str
    lid: str
    step: str
    number: int
    at: float
    who_name: str | None
    means: str | None
    recipients: list[str]
    reached: list[str]


@dataclass(frozen=True, slots=True)
class AccountName:
    """A row of ``names_of_accounts``, ``known_accounts`` or ``active_account``."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class StoredLink:
    """A row of ``lock_link``; ``account`` is the recipient's, if there is one.

    Attributes:
        revoked: or made for somebody without an account, by one who may not answer any more.
    """

    fid: str
    lid: str
    account: str | None
    recipient: str
    code_hash: str | None
    used: bool
    revoked: bool
