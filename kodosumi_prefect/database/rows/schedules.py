"""Rows of schedules, and of their last runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotedSchedule:
    """A row of ``noted_schedules``, in the order of its columns.

    Attributes:
        endpoint_uid: the endpoint it was made from, if it was from one.
        paused_because: why we paused it; None if we did not.
        created_at: epoch seconds.
        username: of ``owner``.
        parameters: JSON, of each run.
    """

    id: str
    deployment_id: str
    endpoint_uid: str | None
    owner: str | None
    summary: str | None
    paused_because: str | None
    created_at: float
    username: str | None
    parameters: str | None


@dataclass(frozen=True, slots=True)
class LastOfSchedule:
    """A row of ``last_of_schedules``; ``started_at`` in epoch seconds."""

    schedule_id: str
    fid: str
    status: str
    started_at: float
    cancelled: bool
    cost: float
    input_tokens: int
    output_tokens: int
    unpriced_calls: int
