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
