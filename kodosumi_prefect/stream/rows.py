"""Rows of queries of ``database/sql``: one class a query, or for queries with the same columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedExecution:
    """How an execution stands, for the observer.

    Attributes:
        state_ts: epoch seconds of its state.
        process: which runs it: ``host``, ``pid``, ``started``; None if none of ours does.
        opened: its inputs are recorded.
        has_error: it has an ``error`` event.
        stale: its process has been silent for longer than the heartbeat's timeout.
    """

    fid: str
    status: str
    state_type: str | None
    state_ts: float | None
    attempt: int
    process: dict[str, Any] | None
    opened: bool
    has_error: bool
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownExecution(ObservedExecution):
    """A row of ``known_executions``; ``closing``: its outcome is known, its end is to come."""

    closing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveExecution(ObservedExecution):
    """A row of ``live_executions``.

    Attributes:
        created_at: epoch seconds.
        silent: seconds since the last heartbeat; None if there was none.
        has_runner: a worker answers, or answered, for a Runner; the rest says which and where.
        lapsed: seconds since the worker's lease ended, negative while it holds.
    """

    id: int
    open_locks: int
    created_at: float
    silent: float | None
    has_runner: bool
    actor_name: str | None
    node: str | None
    pid: int | None
    worker: str | None
    lapsed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExecution:
    """A row of ``status``, ``timeline``, ``timeline_newer`` or ``changes``.

    Attributes:
        owner: id of an account; None if nobody owns it.
        username: the owner's name, or ``owner`` if there is no such account.
        state_name: of its state in Prefect, entered at ``state_ts``.
        inputs, final, progress: envelopes as JSON text.
        final_attempt: the attempt that made ``final``.
        heartbeat_at: when its process was last heard of.
        again_of: the execution whose inputs it was given.
        changed: the transaction that last changed what lists show of it.
        locks: ids of its open locks, oldest first.
    """

    fid: str
    owner: str | None
    username: str | None
    flow_name: str | None
    deployment_id: str | None
    work_pool: str | None
    entry_point: str | None
    app_url: str | None
    summary: str | None
    description: str | None
    tags: list[str] | None
    author: str | None
    organization: str | None
    version: str | None
    deprecated: bool | None
    status: str
    state_name: str | None
    state_ts: datetime | None
    attempt: int
    inputs: str | None
    final: str | None
    final_attempt: int | None
    error: str | None
    progress: str | None
    open_locks: int
    locks: list[str]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    heartbeat_at: datetime | None
    archived_at: datetime | None
    last_seq: int
    again_of: str | None
    changed: int


@dataclass(frozen=True, slots=True)
class NewExecution:
    """A row of ``begun``."""

    id: int
    fid: str


@dataclass(frozen=True, slots=True)
class StreamTail:
    """A row of ``tail``."""

    fid: str
    last_seq: int
    ended_seq: int | None


@dataclass(frozen=True, slots=True)
class PagedEvent:
    """A row of ``page``; ``found``: how many events match, those beyond 8 MB included."""

    seq: int
    ts: float
    kind: str
    payload: str
    attempt: int
    source: dict[str, Any] | None
    found: int


@dataclass(frozen=True, slots=True)
class NamedTaskRun:
    """A row of ``task_runs``: a task run that events name, and where it was last seen."""

    id: str
    name: str | None
    subflow: dict[str, Any] | None
    node: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class TaskRunSpan:
    """A row of ``task_run_spans``: when events first and last came from a task run."""

    id: str
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class FoundText:
    """A row of ``find_text``.

    Attributes:
        seq: of the event that was searched for; None if there is none.
        total: how many events hold the text.
        number: position of this one among them.
    """

    seq: int | None
    total: int
    number: int


@dataclass(frozen=True, slots=True)
class EndpointOfExecution:
    """A row of ``endpoints_of_executions``: which endpoint, by its uid, launched an execution."""

    fid: str
    uid: str


@dataclass(frozen=True, slots=True)
class ListPosition:
    """A row of ``list_position``."""

    created_at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class SearchedWord:
    """A row of ``asked_words``; ``owners`` are ids of accounts with such a name."""

    word: str
    owners: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockQuestion:
    """A row of ``answerable_locks``: what a lock asks, and which execution does.

    Attributes:
        elements: its form as JSON text; None if its service has it, or there is none.
        data: what the run gave along with its question, as JSON text.
        fid, owner, summary, flow_name, app_url: of its execution.
        opened, expires: epoch seconds.
    """

    lid: str
    name: str
    elements: str | None
    data: str | None
    fid: str
    owner: str | None
    summary: str | None
    flow_name: str | None
    app_url: str | None
    opened: float
    expires: float


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
class StoredAuditEntry:
    """A row of ``audit``; exports have its fields in this order.

    Attributes:
        outcome: ``ok``, ``refused`` or ``failed``.
        actor_id: id of the account, which may be gone.
        means: how the actor was known, such as ``session`` or ``key``.
        target_kind, target_id, target_name: what it was done to.
    """

    id: int
    at: datetime
    action: str
    outcome: str
    actor_id: str | None
    actor_name: str | None
    means: str | None
    key_id: str | None
    key_name: str | None
    address: str | None
    user_agent: str | None
    target_kind: str | None
    target_id: str | None
    target_name: str | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApiKey:
    """A row of ``api_keys`` or ``add_api_key``; ``prefix`` is what the key begins with."""

    id: str
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ValidApiKey:
    """A row of ``api_key_by_hash``; ``unnoted``: its use should be noted."""

    id: str
    role_id: str
    unnoted: bool


@dataclass(frozen=True, slots=True)
class NamedApiKey:
    """A row of ``api_key_named``."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class SeenAccount:
    """A row of ``roles_seen``: when an account was last active."""

    id: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class ChangeCounter:
    """A row of ``change_counter``: Postgres's transaction horizon, and its next transaction."""

    xmin: int
    xmax: int


@dataclass(frozen=True, slots=True)
class Service:
    """A row of ``services``: a process that reports itself.

    Attributes:
        kind: ``worker``, ``observer`` or ``spooler``.
        info: what this kind reports about itself.
        started_at: epoch seconds.
        silent: seconds since its last report.
    """

    kind: str
    name: str
    host: str
    pid: int
    version: str
    info: dict[str, Any]
    started_at: float
    silent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A row of ``claim_sources`` or ``touch_sources``: where endpoints are found.

    Attributes:
        url: of ``kind`` ``mounted`` a name, of ``prefect`` that word.
        kind: ``openapi``, ``routes``, ``mounted`` or ``prefect``.
    """

    id: int
    url: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSource(Source):
    """A row of ``sources``.

    Attributes:
        trouble: why it could not be read the last time.
        checked_at, reached_at: epoch seconds; None if never.
        endpoints: how many it has.
    """

    trouble: str | None
    checked_at: float | None
    reached_at: float | None
    endpoints: int


@dataclass(frozen=True, slots=True)
class RunnerCount:
    """A row of ``count_runners``; ``state``: ``starting``, ``running`` or ``lapsed``."""

    state: str
    runners: int


@dataclass(frozen=True, slots=True)
class ExecutionCount:
    """A row of ``count_executions``; ``events``: how many were appended to them."""

    status: str
    executions: int
    events: int


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A row of ``database_facts``.

    Attributes:
        version: of Postgres.
        bytes: size of the database.
        revision: of our schema.
        connections: to the database, of ``most_connections``.
    """

    version: str
    bytes: int
    revision: str
    connections: int
    most_connections: int
