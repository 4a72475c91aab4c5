"""Rows of executions as clients and pages want them."""

import json
from datetime import UTC, datetime
from typing import Any

from kodosumi_prefect.events import TERMINAL, Status
from kodosumi_prefect.panel.web.templating import package_version
from kodosumi_prefect.stream.rows import StoredExecution

NO_RESULT = {"Markdown": {"body": "There is no result yet."}}


def final_envelope(row: StoredExecution) -> str | None:
    """The stored result, as JSON text, or None while there is none.

    A result counts only if the run finished and the attempt that finished it made it: one that
    was stored before Prefect failed the run is none. A failed run's is the message of its error.
    """
    if row.status == Status.FINISHED and row.final_attempt == row.attempt:
        return row.final
    if row.status == Status.ERROR:
        return json.dumps({"Text": {"body": row.error or ""}}, ensure_ascii=False)
    return None


def status_of(row: StoredExecution) -> dict[str, Any]:
    """What ``/outputs/status`` answers; ``timestamp``: last heartbeat or change, epoch seconds."""
    over = row.status in TERMINAL
    signs = [row.ended_at] if over else [row.updated_at, row.heartbeat_at]
    latest = max(sign for sign in [*signs, row.state_ts, row.created_at] if sign)
    return {
        "status": row.status,
        "timestamp": latest.timestamp(),
        "final": final_envelope(row),
        "fid": row.fid,
        "summary": row.summary,
        "description": row.description,
        "tags": row.tags or [],
        "deprecated": bool(row.deprecated),
        "author": row.author,
        "organization": row.organization,
        "version": row.version,
        "kodosumi_version": package_version(),
        "app_url": row.app_url,
        "entry_point": row.entry_point,
        "username": row.username,
        "locks": row.locks,
        "usage": usage_of(row),
    }


def usage_of(row: StoredExecution) -> dict[str, Any]:
    """What its spans took; ``cost`` in US dollars, of the calls whose price is known."""
    return {
        "model_calls": row.model_calls,
        "tool_calls": row.tool_calls,
        "errors": row.span_errors,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost": row.cost,
        "unpriced_calls": row.unpriced_calls,
    }


def timeline_item(row: StoredExecution) -> dict[str, Any]:
    """What ``/timeline`` answers for one execution; ``runtime`` in seconds."""
    return {
        "fid": row.fid,
        "tags": row.tags or [],
        "summary": row.summary or row.flow_name,
        "inputs": json.loads(row.inputs) if row.inputs else None,
        "status": row.status,
        "startup": _iso(row.started_at or row.created_at),
        "finish": _iso(row.ended_at),
        "runtime": runtime(row),
        "locks": row.locks,
    }


def runtime(row: StoredExecution) -> float | None:
    """Seconds that the execution ran, so far if it still does; None before it began."""
    if row.started_at is None:
        return None
    span = (row.ended_at or datetime.now(UTC)) - row.started_at
    return max(span.total_seconds(), 0.0)


def title(row: StoredExecution) -> str:
    """What people call the execution."""
    return first_name(row.summary, row.flow_name, row.entry_point, row.fid)


def first_name(*names: str | None) -> str:
    """The first of what an execution may be called by that is known; its fid comes last."""
    return next(name for name in names if name)


def _iso(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat() if value is not None else None
