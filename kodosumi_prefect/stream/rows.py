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
        cancelled: its status is ``error``, Kodosumi's word for that too.
        files: how many it has, of so many bytes in all.
        model_calls, tool_calls, span_errors, input_tokens, output_tokens: what its spans add up to.
        cost: US dollars, without those of the ``unpriced_calls``.
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
    cancelled: bool
    files: int = 0
    file_bytes: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    span_errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedExecution(StoredExecution):
    """A row of the panel's list.

    Attributes:
        inputs: their beginning, which may be no whole JSON.
        final: always None.
        run_name: of its flow run in Prefect; None for runs that older versions recorded.
        deployment_name: None if it has no deployment, or one that Prefect no longer knows.
    """

    run_name: str | None
    deployment_name: str | None


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
    """A row of ``page``; ``matches``: how many events match, those beyond 8 MB included."""

    seq: int
    ts: float
    kind: str
    payload: str
    attempt: int
    source: dict[str, Any] | None
    matches: int


@dataclass(frozen=True, slots=True)
class NamedTaskRun:
    """A row of ``task_runs``: a task run that events name, and where it was last seen."""

    id: str
    name: str | None
    subflow: dict[str, Any] | None
    node: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class NamedSubflow:
    """A row of ``subflows``: the run of a subflow; ``first``: the seq that first names it."""

    id: str
    name: str | None
    first: int


@dataclass(frozen=True, slots=True)
class AttemptSpan:
    """A row of ``attempts``.

    Attributes:
        first, last: seqs of its first and last event.
        began: when it first ran; None if it did not.
        ended: when its last event was.
        lines: events of the log.
    """

    attempt: int
    first: int
    last: int
    began: datetime | None
    ended: datetime
    lines: int


@dataclass(frozen=True, slots=True)
class NewestAttempt:
    """A row of ``newest_attempts``; ``began``: None if no event of it is known."""

    fid: str
    began: datetime | None


@dataclass(frozen=True, slots=True)
class Rerun:
    """A row of ``reruns``; ``later``: it was made like the other, not the other way round."""

    fid: str
    summary: str | None
    flow_name: str | None
    entry_point: str | None
    status: str
    attempt: int
    cancelled: bool
    later: bool


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
class ListPosition:
    """A row of ``list_position``."""

    created_at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class SearchedWord:
    """A row of ``asked_words``; ``owners`` are ids of accounts with such a name."""

    word: str
    owners: Sequence[str]


@dataclass(frozen=True, slots=True)
class ChangeCounter:
    """A row of ``change_counter``: Postgres's transaction horizon, and its next transaction."""

    xmin: int
    xmax: int


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """A row of ``spans_of``.

    Attributes:
        began, ended: seconds since the epoch; None if not heard of.
        status: ``ok``, ``error`` or ``cancelled``; None until its end.
        cost: US dollars; None if the price is not known.
        counted: whether its tokens are part of the totals.
        begin_seq, end_seq: of its events, which have the contents.
        again: a model call that the run had made before it was suspended.
    """

    id: str
    parent: str | None
    name: str
    type: str
    attempt: int
    task_run: str | None
    began: float | None
    ended: float | None
    status: str | None
    model: str | None
    provider: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    written_tokens: int | None
    cost: float | None
    counted: bool
    error: str | None
    begin_seq: int | None
    end_seq: int | None
    first_seq: int
    again: bool


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A row of ``model_use_of``; ``cost`` in US dollars, of the calls that are priced."""

    model: str
    provider: str
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float
    unpriced: int
