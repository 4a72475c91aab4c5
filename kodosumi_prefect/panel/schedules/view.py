"""Schedules as pages show them."""

from typing import Any
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response

from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.schedules.actions import (
    Change,
    Listing,
    Row,
    is_paused,
    listing,
    may_resume,
)
from kodosumi_prefect.panel.schedules.filter import Filter
from kodosumi_prefect.panel.schedules.rule_words import cron_words, interval_words
from kodosumi_prefect.panel.web.prefect_links import deployment_url
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.spans.amounts import taken

SAVED = "saved"  # parameter of the page: id of the schedule that it is led to from
SHOWN_TIMES = 3  # next runs in the list; the others in its tooltip


async def schedules_page(request: Request, panel: State, user: User, filter_: Filter) -> Response:
    """The page; ``GET /schedules`` answers it to browsers."""
    schedules = await listing(user, panel.settings)
    around = await context(panel, user, schedules, filter_)
    saved = request.query_params.get(SAVED)
    around["saved"] = next((row for row in around["rows"] if row["id"] == saved), None)
    return page(request, "schedules.html", around)


def to_change(do: Change, rows: list[Row]) -> list[tuple[UUID, UUID | None]]:
    """Those of the rows for which there is something to do."""
    changeable = [
        row for row in rows if (may_resume(row) if do == "resume" else not is_paused(row))
    ]
    return [(UUID(row["id"]), _of(row)) for row in changeable]


def _of(row: Row) -> UUID | None:
    return None if row["ours"] else UUID(row["deployment"]["id"])


async def context(panel: State, user: User, schedules: Listing, filter_: Filter) -> dict[str, Any]:
    """What templates need of a list."""
    rows = [row for row in schedules.rows if filter_.matches(row)]
    services = await panel.register.listed([row["endpoint"] for row in rows if row["endpoint"]])
    known = schedules.trouble is None
    return {
        "rows": [_row(panel, row, known, services) for row in rows],
        "all": len(schedules.rows),
        "trouble": schedules.trouble,
        "tags": sorted({tag for row in schedules.rows for tag in row.get("tags", ())}),
        "filter": filter_,
        "search": filter_.address(),
        "pausable": len(to_change("pause", rows)) if known else 0,
        "resumable": len(to_change("resume", rows)) if known else 0,
        "owners": user.operator,
    }


def _row(panel: State, row: Row, known: bool, services: set[str]) -> dict[str, Any]:
    """What templates need of a schedule.

    Arguments:
        services: ids of the endpoints that have a page here.
    """
    deployment = row["deployment"]["name"]
    flow = row.get("flow")
    full = f"{flow}/{deployment}" if flow else deployment
    words, raw = _rule(row)
    times = row.get("next", [])
    return {
        "id": row["id"],
        "deployment_id": str(_of(row) or ""),
        "ours": row["ours"],
        "name": row["summary"] or full or row["id"],
        "deployment": full,
        "prefect": deployment_url(panel.settings, row["deployment"]["id"]),
        "service": row["endpoint"] if row["endpoint"] in services else None,
        "tags": row.get("tags", []),
        "words": words,
        "raw": raw,
        "timezone": row.get("timezone"),
        "owner": row["username"],
        "last": row["last_run"],
        "last_took": _taken(row["last_run"]),
        "next": times[:SHOWN_TIMES],
        "paused": is_paused(row),
        "because": row["paused_because"],
        "resumable": may_resume(row),
        "known": known,
    }


def _taken(run: Row | None) -> str | None:
    if run is None:
        return None
    names = ("cost", "input_tokens", "output_tokens", "unpriced_calls")
    return taken(*(run[name] for name in names))


def _rule(row: Row) -> tuple[str | None, str | None]:
    """When it fires, in words and as it is written."""
    if (cron := row.get("cron")) is not None:
        return cron_words(cron) or "By a cron", cron
    if (interval := row.get("interval")) is not None:
        return interval_words(interval), None
    if (rrule := row.get("rrule")) is not None:
        return "By a calendar rule", rrule
    return None, None
