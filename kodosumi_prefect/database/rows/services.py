"""Rows of what can be launched, and where it is found."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class EndpointOfExecution:
    """A row of ``endpoints_of_executions``: which endpoint, by its uid, launched an execution."""

    fid: str
    uid: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredEndpoint:
    """A row of ``endpoint`` or ``endpoints``.

    Attributes:
        uid: MD5 of ``url``.
        url: path of the panel at which it is served.
        target: URL at which its service serves it; a path if the service is mounted; None of a
            Prefect deployment.
        base_url: where the service runs.
        source: where it was found, of ``kind``.
        reachable: whether its source could be read the last time; else ``trouble`` says why not.
        reached_at: when it could be read, epoch seconds; None if never.
        gone: its source no longer lists it.
    """

    uid: str
    method: str
    url: str
    target: str | None
    base_url: str
    deployment_id: str | None
    source: str
    kind: str
    summary: str | None
    description: str | None
    deprecated: bool
    author: str | None
    organization: str | None
    version: str | None
    tags: list[str]
    reachable: bool
    trouble: str | None
    reached_at: float | None
    gone: bool


@dataclass(frozen=True, slots=True)
class EndpointTag:
    """A row of ``endpoint_tags``: how many endpoints have a tag."""

    tag: str
    endpoints: int


@dataclass(frozen=True, slots=True)
class LastOfEndpoint:
    """A row of ``last_of_endpoints``: the newest execution of an endpoint that may be seen.

    Attributes:
        cost: US dollars, without those of the ``unpriced_calls``.
    """

    uid: str
    fid: str
    status: str
    state_name: str | None
    began: datetime
    cancelled: bool
    cost: float
    input_tokens: int
    output_tokens: int
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class UseOfEndpoint:
    """A row of ``use_of_endpoints``: how many executions that may be seen an endpoint launched."""

    uid: str
    runs: int


@dataclass(frozen=True, slots=True)
class GoneEndpoint:
    """A row of ``schedules_of_gone``; ``source`` listed it."""

    uid: str
    source: str
