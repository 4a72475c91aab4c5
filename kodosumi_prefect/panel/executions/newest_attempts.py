"""How long the newest attempt of an execution takes, without those before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kodosumi_prefect.events import TERMINAL, Status
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import NewestAttempt, StoredExecution

WAITS_FOR_ATTEMPT = "AwaitingRetry"  # Prefect's name of the state between two attempts


@dataclass(frozen=True, slots=True)
class Spent:
    """Time that an execution took.

    Attributes:
        since: when its newest attempt began; None before it did.
        seconds: that the newest attempt ran, so far if it still does; None before it began.
        whole: seconds from the first attempt's start to the end, the time between attempts
            included; None of a single attempt, and while it runs.
    """

    since: datetime | None
    seconds: float | None
    whole: float | None


async def began(reader: Reader, rows: Sequence[StoredExecution]) -> dict[str, datetime]:
    """When the newest attempts began of those that have more than one, by fid."""
    fids = [row.fid for row in rows if row.attempt > 1]
    if not fids:
        return {}
    found = await reader.rows_of(NewestAttempt, "newest_attempts", fids=fids)
    return {attempt.fid: attempt.began for attempt in found if attempt.began is not None}


def spent(row: StoredExecution, began: datetime | None) -> Spent:
    """Time that its newest attempt took.

    Arguments:
        began: when that began, if it is not the first.
    """
    if row.started_at is None or between_attempts(row):
        return Spent(None, None, None)
    since = began if began is not None and row.attempt > 1 else row.started_at
    end = row.ended_at or datetime.now(UTC)
    several = row.attempt > 1 and row.ended_at is not None
    return Spent(
        since,
        max((end - since).total_seconds(), 0.0),
        max((end - row.started_at).total_seconds(), 0.0) if several else None,
    )


def between_attempts(row: StoredExecution) -> bool:
    """Whether an attempt is over and the next one has not begun."""
    if row.status in TERMINAL or row.started_at is None:
        return False
    return row.status == Status.STARTING or row.state_name == WAITS_FOR_ATTEMPT
