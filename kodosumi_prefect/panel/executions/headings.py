"""An execution as lists and headings show it."""

from typing import Any

from markupsafe import Markup

from kodosumi_prefect.events import TERMINAL, Kind, Status
from kodosumi_prefect.panel.executions.rows import runtime, title
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.stream.rows import StoredExecution

CANCELLED = "cancelled"  # Kodosumi has no such word; only people read it


def listed(row: StoredExecution) -> dict[str, Any]:
    """What templates need of a stored execution."""
    return {
        "fid": row.fid,
        "title": title(row),
        "flow_name": row.flow_name if row.flow_name != title(row) else None,
        "status": row.status,
        "look": look(row.status, row.cancelled),
        "state": _state_word(row),
        "began": row.started_at or row.created_at,
        "runtime": runtime(row),
        "live": row.status not in TERMINAL and row.started_at is not None,
        "tags": row.tags or [],
        "error": row.error if row.status == Status.ERROR and not row.cancelled else None,
        "progress": _progress(row),
        "attempt": row.attempt,
        "open_locks": row.open_locks if row.status not in TERMINAL else 0,
        "owner": row.username,
        "again_of": row.again_of,
    }


def look(status: str, cancelled: bool) -> str:
    """The word that people read, and the class it is coloured by: cancelled is no error to them."""
    return CANCELLED if cancelled else status


def _progress(row: StoredExecution) -> Markup | None:
    if not row.progress or row.status in TERMINAL:
        return None
    return Markup(render(Kind.PROGRESS, row.progress))


def _state_word(row: StoredExecution) -> str | None:
    """Prefect's own state name if it is more specific than ours."""
    ordinary = {"Completed", "Failed", "Running", "Pending", "Cancelled"}
    return None if row.state_name in ordinary else row.state_name
