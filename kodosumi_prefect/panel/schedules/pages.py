"""Schedules: what runs regularly, when, and how it ended."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.panel.accounts.requester import CurrentUser, User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.schedules.rule_words import cron_words, interval_words
from kodosumi_prefect.panel.schedules.visible import (
    Listing,
    Narrowing,
    Paused,
    Row,
    change,
    is_paused,
    listing,
    may_resume,
)
from kodosumi_prefect.panel.web.prefect_links import deployment_url
from kodosumi_prefect.panel.web.state import Panel, State
from kodosumi_prefect.panel.web.templating import page

Do = Literal["pause", "resume", "delete"]
DONE = {"pause": "paused", "resume": "resumed", "delete": "deleted"}
RECORDED = {
    "pause": Action.SCHEDULE_PAUSE,
    "resume": Action.SCHEDULE_RESUME,
    "delete": Action.SCHEDULE_DELETE,
}
SHOWN_TIMES = 3  # next runs in the list; the others in its tooltip

router = APIRouter(include_in_schema=False)

Tag = Annotated[str, Query(max_length=300, description="Only those of deployments with this tag.")]
PausedOrNot = Annotated[Paused, Query(description="Only those that are paused, or are not.")]
Words = Annotated[
    str, Query(max_length=300, description="Words in what they run, in their owner and tags.")
]


async def shown(request: Request, panel: State, user: User, narrowing: Narrowing) -> Response:
    """The page; ``GET /schedules`` answers it to browsers."""
    found = await listing(user, panel.settings)
    return page(request, "schedules.html", _context(panel, user, found, narrowing))


@router.get("/schedules/list")
async def rows(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    tag: Tag = "",
    paused: PausedOrNot = "",
    q: Words = "",
) -> Response:
    """The list without a page around it."""
    found = await listing(user, panel.settings)
    context = _context(panel, user, found, Narrowing(tag, paused, q))
    return page(request, "_schedules.html", context)


@router.post("/schedules/change")
async def changed(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    do: Annotated[Do, Form()],
    id: Annotated[UUID | None, Form()] = None,
    deployment: Annotated[UUID | None, Form()] = None,
    tag: Tag = "",
    paused: PausedOrNot = "",
    q: Words = "",
) -> Response:
    """Change one, or all that match the filter; answers the new list."""
    narrowing = Narrowing(tag, paused, q)
    problems: list[str] = []
    if id is not None:
        targets: list[tuple[UUID, UUID | None]] = [(id, deployment)]
    elif do == "delete":
        raise LaunchError(422, "id is missing: schedules are deleted one by one")
    else:
        before = await listing(user, panel.settings)
        if before.trouble is not None:
            raise LaunchError(502, before.trouble)
        targets = _targets(do, [row for row in before.rows if narrowing.holds(row)])
    done = 0
    for target, of in targets:
        entry = record(request, RECORDED[do], Target("schedule", str(target)))
        try:
            await change(do, target, of, user, panel.settings)
            done += 1
            entry.outcome = Outcome.OK
        except LaunchError as exc:
            entry.outcome = Outcome.of_status(exc.status_code)
            if id is not None:
                raise
            problems.append(exc.detail)
    if "hx-request" not in request.headers:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return RedirectResponse(f"{root}/schedules{_search(narrowing)}", 303)
    found = await listing(user, panel.settings)
    context = _context(panel, user, found, narrowing)
    context |= {"said": _said(do, done), "problems": problems[:5]}
    return page(request, "_schedules.html", context)


def _targets(do: Do, rows: list[Row]) -> list[tuple[UUID, UUID | None]]:
    """Those of the rows for which there is something to do."""
    wanted = [row for row in rows if (may_resume(row) if do == "resume" else not is_paused(row))]
    return [(UUID(row["id"]), _of(row)) for row in wanted]


def _of(row: Row) -> UUID | None:
    return None if row["ours"] else UUID(row["deployment"]["id"])


def _said(do: Do, done: int) -> str:
    return f"{done} {'schedule' if done == 1 else 'schedules'} {DONE[do]}."


def _context(panel: State, user: User, found: Listing, narrowing: Narrowing) -> dict[str, Any]:
    held = [row for row in found.rows if narrowing.holds(row)]
    known = found.trouble is None
    return {
        "rows": [_row(panel, row, known) for row in held],
        "all": len(found.rows),
        "trouble": found.trouble,
        "tags": sorted({tag for row in found.rows for tag in row.get("tags", ())}),
        "narrowing": narrowing,
        "search": _search(narrowing),
        "pausable": len(_targets("pause", held)) if known else 0,
        "resumable": len(_targets("resume", held)) if known else 0,
        "owners": user.operator,
    }


def _search(narrowing: Narrowing) -> str:
    """The filter as the query of a URL, with its question mark; empty for none."""
    given = {name: value for name, value in narrowing._asdict().items() if value}
    return f"?{urlencode(given)}" if given else ""


def _row(panel: State, row: Row, known: bool) -> dict[str, Any]:
    """What templates need of a schedule."""
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
        "service": row["endpoint"],
        "tags": row.get("tags", []),
        "words": words,
        "raw": raw,
        "timezone": row.get("timezone"),
        "owner": row["username"],
        "last": row["last_run"],
        "next": times[:SHOWN_TIMES],
        "paused": is_paused(row),
        "because": row["paused_because"],
        "resumable": may_resume(row),
        "known": known,
    }


def _rule(row: Row) -> tuple[str | None, str | None]:
    """When it fires, in words and as it is written."""
    if (cron := row.get("cron")) is not None:
        return cron_words(cron) or "By a cron", cron
    if (interval := row.get("interval")) is not None:
        return interval_words(interval), None
    if (rrule := row.get("rrule")) is not None:
        return "By a calendar rule", rrule
    return None, None
