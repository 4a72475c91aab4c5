"""Who did what: the page of ``GET /audit``."""

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from kodosumi_prefect.database.rows.audit import StoredAuditEntry
from kodosumi_prefect.panel.audit.filter import Filter
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.web.templating import page

WORDS = {action.value: action.words for action in Action}
MEANS = {
    "key": "API key",
    "cli": "command line",
    "proxy": "the proxy's sign-in",
    "start": "at its start",
    "link": "a link",
    "schedule": "as its run asked for",
}
# Where something that was done to can be looked at, below the panel's root.
PLACES = {
    "execution": "executions/{}",
    "account": "users/{}",
    "schedule": "schedules",
    "source": "system",
    "team": "teams",
}


def audit_page(
    request: Request,
    filter_: Filter,
    rows: list[StoredAuditEntry],
    following: int | None,
    *,
    first: bool,
) -> Response:
    """The page.

    Arguments:
        following: the id to page on from; None on the last page.
        first: whether this is the newest page.
    """
    context = {
        "rows": [_row(row) for row in rows],
        "filter": filter_,
        "actions": list(Action),
        "chosen": filter_.actions or [],
        "outcomes": list(Outcome),
        "following": following,
        "first": first,
    }
    return page(request, "audit.html", context)


def _row(entry: StoredAuditEntry) -> dict[str, Any]:
    """What the template needs of an entry."""
    details = dict(entry.details)
    fid = details.pop("fid", None)
    place = PLACES.get(entry.target_kind or "")
    id_ = entry.target_id
    if entry.target_kind == "lock" and fid:
        place, id_ = PLACES["execution"], fid
    return {
        "entry": entry,
        "words": WORDS.get(entry.action, entry.action),
        "by": MEANS.get(entry.means or ""),
        "unknown": details.pop("account", None),
        "times": details.pop("times", None),
        "more": [f"{name}: {_plain(value)}" for name, value in sorted(details.items())],
        "link": place.format(id_) if place and id_ else None,
    }


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
