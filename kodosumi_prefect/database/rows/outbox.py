"""Rows of the outbox, of webhooks and of what is sent to them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What is to be told, with what it is about as that stands now.

    Attributes:
        uid: its id for whoever gets it, the same at each try.
        kind: such as ``lock.opened``; see ``outbox.kinds``.
        occurred, expires: epoch seconds.
        facts: what the kind has beside it, such as ``attempt``.
        fid, summary, flow_name, run_name, deployment_id: of its execution; None of a schedule.
        lid, lock_name, lock_title, question, data, expires: of its lock, if it is about one.
    """

    uid: str
    kind: str
    occurred: float
    facts: dict[str, Any]
    fid: str | None
    summary: str | None
    flow_name: str | None
    run_name: str | None
    deployment_id: str | None
    lid: str | None
    lock_name: str | None
    lock_title: str | None
    question: str | None
    data: str | None
    expires: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WordForPrefect(Word):
    """A row of ``words_for_prefect``."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery(Word):
    """A row of ``claim_deliveries``.

    Attributes:
        tries: with this one.
        trying: seconds since the first of them.
        account, account_name: whose webhook it is, by id and name.
        with_link: it is to have a link with which the account answers, if the account is asked.
        secret, old_secret: encrypted; what is sent is signed with both.
    """

    id: int
    tries: int
    trying: float
    webhook_id: str
    account: str
    account_name: str
    url: str
    with_data: bool
    with_link: bool
    secret: bytes
    old_secret: bytes | None


@dataclass(frozen=True, slots=True)
class OutboxCount:
    """A row of ``count_outbox``.

    Attributes:
        receiver: ``prefect`` or ``webhook``.
        waiting: what is to be sent.
        oldest: seconds since the oldest of that occurred; 0 if nothing waits.
        set_aside: what could not be sent for a day.
    """

    receiver: str
    waiting: int
    oldest: float
    set_aside: int


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """A row of ``schedules_run``; ``ran`` and ``succeeded`` in epoch seconds, None for never."""

    schedule_id: str
    ran: float | None
    succeeded: float | None
    under_way: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A row of ``webhooks``.

    Attributes:
        owner, username: the account's id and name.
        kinds: what it wants to get.
        everyone: of all executions; otherwise of the account's own.
        with_data: whether it gets what a question asks.
        with_links: whether it gets links with which its account answers what it is asked.
        idle: why nothing is sent though it is active: ``account_disabled``; ``no_operator``: it is
            of all executions, and its account no operator's.
        paused_because: why it gets nothing, if its receiver said so.
        failures: deliveries in a row that failed.
        old_until: until when the secret before signs, too.
        waiting, set_aside: deliveries.
    """

    id: str
    owner: str
    username: str
    name: str
    url: str
    kinds: list[str]
    everyone: bool
    with_data: bool
    with_links: bool
    active: bool
    idle: Literal["account_disabled", "no_operator"] | None
    paused_because: str | None
    failures: int
    created_at: datetime
    old_until: datetime | None
    waiting: int
    set_aside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A row of ``deliveries``.

    Attributes:
        state: ``waiting``, ``delivered`` or ``set_aside``.
        began_at: of the first try.
        next_at: when it is tried next.
        status: HTTP status of the last answer, if there was one.
        trouble: why the last try failed.
        uid: part of its ``webhook-id``.
    """

    id: int
    state: str
    tries: int
    began_at: datetime | None
    ended_at: datetime | None
    next_at: datetime | None
    status: int | None
    trouble: str | None
    uid: str
    kind: str
    occurred_at: datetime
    fid: str | None
    title: str | None
