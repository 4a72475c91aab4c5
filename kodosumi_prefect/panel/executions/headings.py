"""An execution as lists and headings show it."""

from typing import Any

from markupsafe import Markup

from kodosumi_prefect.events import TERMINAL, Kind, Status
from kodosumi_prefect.panel.executions.rows import Row, runtime, title
from kodosumi_prefect.panel.html.render import render


def listed(row: Row) -> dict[str, Any]:
    """What templates need of a row of table ``execution``."""
    return {
        "fid": row["fid"],
        "title": title(row),
        "flow_name": row["flow_name"] if row["flow_name"] != title(row) else None,
        "status": row["status"],
        "state": _state_word(row),
        "began": row["started_at"] or row["created_at"],
        "runtime": runtime(row),
        "live": row["status"] not in TERMINAL and row["started_at"] is not None,
        "tags": row["tags"] or [],
        "error": row["error"] if row["status"] == Status.ERROR else None,
        "progress": _progress(row),
        "attempt": row["attempt"],
        "open_locks": row["open_locks"] if row["status"] not in TERMINAL else 0,
        "owner": row["username"],
        "again_of": str(row["again_of"]) if row["again_of"] else None,
    }


def _progress(row: Row) -> Markup | None:
    if not row["progress"] or row["status"] in TERMINAL:
        return None
    return Markup(render(Kind.PROGRESS, row["progress"]))


def _state_word(row: Row) -> str | None:
    """Prefect's own state name if it is more specific than ours."""
    name: str | None = row["state_name"]
    ordinary = {"Completed", "Failed", "Running", "Pending", None}
    return None if name in ordinary else name
