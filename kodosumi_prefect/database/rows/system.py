"""Rows about the parts of the system."""

from dataclasses import dataclass
from typing import Any


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
class UseOfModel:
    """A row of ``use_by_model``; ``cost`` in US dollars, without those of ``unpriced`` calls."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float
    unpriced: int


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


@dataclass(frozen=True, slots=True)
class Utilisation:
    """A row of ``utilisation``; ``at`` in epoch seconds."""

    at: float
    figures: dict[str, float]
