"""An execution as lists and headings show it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from kodosumi_prefect.events import TERMINAL, Kind, Status
from kodosumi_prefect.panel.executions.newest_attempts import began, spent
from kodosumi_prefect.panel.executions.rows import title
from kodosumi_prefect.panel.executions.telling_inputs import telling
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.spans.amounts import taken, taken_exactly
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.stream.rows import ListedExecution, StoredExecution

CANCELLED = "cancelled"  # Kodosumi has no such word; only people read it


def listed(row: StoredExecution, attempt_began: datetime | None = None) -> dict[str, Any]:
    """What templates need of a stored execution.

    Arguments:
        attempt_began: when its newest attempt began, if it is not the first.
    """
    time = spent(row, attempt_began)
    return {
        "fid": row.fid,
        "title": title(row),
        "flow_name": row.flow_name if row.flow_name != title(row) else None,
        "status": row.status,
        "look": look(row.status, row.cancelled),
        "state": _state_word(row),
        "began": row.started_at or row.created_at,
        "since": time.since,
        "runtime": time.seconds,
        "whole": time.whole,
        "live": row.status not in TERMINAL and time.since is not None,
        "tags": row.tags or [],
        "error": row.error if row.status == Status.ERROR and not row.cancelled else None,
        "progress": _progress(row),
        "attempt": row.attempt,
        "open_locks": row.open_locks if row.status not in TERMINAL else 0,
        "owner": row.username,
        "again_of": row.again_of,
        "files": row.files,
        "taken": taken(*_use(row)),
        "taken_exactly": taken_exactly(*_use(row)),
    }


async def rows_of_list(reader: Reader, rows: Sequence[ListedExecution]) -> list[dict[str, Any]]:
    """What the list's template needs: as ``listed``, and what tells a run from its neighbours."""
    attempts = await began(reader, rows)
    today = datetime.now(UTC)
    fields = telling([(row.flow_name, row.inputs) for row in rows])
    return [
        listed(row, attempts.get(row.fid))
        | {
            "flow": row.flow_name,
            "deployment": row.deployment_name,
            "run_name": row.run_name if row.run_name != title(row) else None,
            "inputs": those,
            "note": row.error if row.cancelled else None,
            "brief": brief(row.started_at or row.created_at, today),
        }
        for row, those in zip(rows, fields, strict=True)
    ]


def brief(moment: datetime, today: datetime) -> str:
    """A point in time as a list has room for, UTC; ``list.js`` writes it in the reader's zone."""
    at = moment.astimezone(UTC)
    if at.date() == today.date():
        return f"{at:%H:%M:%S}"
    return (
        f"{at:%b} {at.day} {at:%H:%M}" if at.year == today.year else f"{at:%b} {at.day} {at.year}"
    )


def look(status: str, cancelled: bool) -> str:
    """The word that people read, and the class it is coloured by: cancelled is no error to them."""
    return CANCELLED if cancelled else status


def _use(row: StoredExecution) -> tuple[float, int, int, int]:
    return row.cost, row.input_tokens, row.output_tokens, row.unpriced_calls


def _progress(row: StoredExecution) -> Markup | None:
    if not row.progress or row.status in TERMINAL:
        return None
    return Markup(render(Kind.PROGRESS, row.progress))


def _state_word(row: StoredExecution) -> str | None:
    """Prefect's own state name if it is more specific than ours."""
    ordinary = {"Completed", "Failed", "Running", "Pending", "Cancelled"}
    return None if row.state_name in ordinary else row.state_name
