"""One live page for each execution: its head, and a tab for each way to look at its events."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from kodosumi_prefect.database.rows.budgets import SpentBudget
from kodosumi_prefect.database.rows.locks import Lock
from kodosumi_prefect.events import TERMINAL, Kind, Status
from kodosumi_prefect.locks.answering import Locks, closed
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, User
from kodosumi_prefect.panel.executions import actions, downloads, newest_attempts
from kodosumi_prefect.panel.executions.actions import wait_for_execution
from kodosumi_prefect.panel.executions.comparison import changes, first_difference, side
from kodosumi_prefect.panel.executions.family import Reruns, reruns
from kodosumi_prefect.panel.executions.headings import listed
from kodosumi_prefect.panel.executions.offsets import began
from kodosumi_prefect.panel.executions.panes import NEWEST, PANES, PaneQuery, Wish, stretch
from kodosumi_prefect.panel.executions.result_file import kind_words, result_file
from kodosumi_prefect.panel.executions.retrying import NO_DEPLOYMENT
from kodosumi_prefect.panel.executions.rows import final_envelope, title
from kodosumi_prefect.panel.executions.run_again import again_url
from kodosumi_prefect.panel.executions.streams import EventStream, View
from kodosumi_prefect.panel.executions.trace_pages import trace_tab
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.panel.html.words import plain_line
from kodosumi_prefect.panel.locks.cards import card
from kodosumi_prefect.panel.locks.linking import offered
from kodosumi_prefect.panel.locks.people import asked_words, names_in, people_of
from kodosumi_prefect.panel.web.parameters import Cursor, Execution, Panel, ReadsContents, Seat
from kodosumi_prefect.panel.web.prefect_links import flow_run_url, links
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import moment, page
from kodosumi_prefect.spooler.standing import in_words
from kodosumi_prefect.stream.reader import StoredEvent
from kodosumi_prefect.stream.rows import StoredExecution

QUESTIONS = 20  # of one run that are answered on its page
STEPS = 20_000  # newest events looked through for what a run did last
LIVE = View(None, html=True, named=True)

TABS = {
    "output": "Output",
    "trace": "Trace",
    "tasks": "Tasks",
    "files": "Files",
    "log": "Log",
    "inputs": "Inputs",
    "raw": "Raw",
}

router = APIRouter(include_in_schema=False)

router.include_router(downloads.router)

Question = Annotated[Literal["cancel", "retry", "archive"] | None, Query()]
SpanKey = Annotated[str | None, Query(max_length=200)]
Pair = Annotated[str, Query(max_length=80)]
Number = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@router.get("/executions/{fid}", dependencies=[ReadsContents])
async def execution(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    execution: Execution,
    wish: Wish,
    tab: str = "output",
    view: str = "",
    span: SpanKey = None,
    ask: Question = None,
    archived: bool = False,
) -> Response:
    """Everything about one execution up to now; ``execution.js`` takes it from there."""
    if execution.archived_at is not None and not archived:
        return page(request, "archived.html", _archived(execution), status_code=410)
    if tab == "reasoning":  # as links of versions before 0.3 have it
        return RedirectResponse(f"?{request.url.include_query_params(tab='trace').query}", 307)
    chosen = tab if tab in TABS else "output"
    trace = await trace_tab(panel, execution, span) if chosen == "trace" else None
    shown = chosen
    if trace is not None and _as_steps(view, wish, trace):
        shown = "steps"
    locks = await _open_locks(panel, user, execution)
    context = {
        "row": execution,
        "cursor": execution.last_seq,
        "head": await _head(panel, user, execution),
        "mine": user.owns(execution.owner),
        "awaited": await _awaited(panel, user, locks),
        "cards": await _cards(request, panel, user, locks),
        "tail": await _tail(panel, execution),
        "tabs": TABS,
        "tab": chosen,
        "ask": ask,
        "shown": shown,
        "trace": trace,
        "panes": PANES,
        "pane": await stretch(panel, execution, shown, wish) if shown in PANES else None,
    }
    return page(request, "execution.html", context)


def _as_steps(view: str, wish: PaneQuery, trace: dict[str, Any]) -> bool:
    """Whether the trace is to be shown as cards, one below the other, and not as a tree."""
    stretch_of_cards = (wish.before, wish.after, wish.around, wish.line) != (None,) * 4
    no_tree = trace["steps"] and not trace["lines"] and view != "tree"
    return view == "steps" or stretch_of_cards or no_tree


@router.get("/executions/{fid}/head")
async def head(request: Request, panel: Panel, user: CurrentUser, execution: Execution) -> Response:
    """The parts of the page that stand for the execution as a whole."""
    locks = await _open_locks(panel, user, execution)
    context = {
        "row": execution,
        "head": await _head(panel, user, execution),
        "mine": user.owns(execution.owner),
        "awaited": await _awaited(panel, user, locks),
    }
    return page(request, "_head.html", context)


@router.get("/executions/{fid}/live", dependencies=[Seat, ReadsContents])
async def live(
    request: Request, panel: Panel, execution: Execution, after: Cursor = 0
) -> EventStream:
    """All events rendered, in one stream: a browser has few connections to one host."""
    return panel.streams.open(request, execution.fid, after, LIVE)


@router.get("/executions/{fid}/compare", dependencies=[ReadsContents])
async def compare(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    execution: Execution,
    attempt: Number = None,
    pair: Pair = "",
) -> Response:
    """Two attempts beside each other; without more, the newest one and what came before it.

    That is the attempt before, or the execution that this one is a rerun of.
    """
    visible = user.sees(panel.settings)
    family = await reruns(panel.reader, execution, visible)
    before = family.of.fid if family.of is not None and execution.attempt == 1 else execution.fid
    other, against = _pair(pair)
    fid = other or before
    row = execution if fid == execution.fid else await wait_for_execution(panel, UUID(fid), visible)
    new, new_span = await side(panel.reader, execution, attempt)
    if row is execution and against is None:
        against = max((n for n in new.attempts if n < new.attempt), default=new.attempt)
    old, old_span = await side(panel.reader, row, against)
    differs = None
    if old_span is not None and new_span is not None and (row is not execution or old != new):
        differs = await first_difference(panel.reader, (fid, old_span), (execution.fid, new_span))
    one, another = differs or (None, None)
    context = {
        "row": execution,
        "title": new.title,
        "sides": [(old, one), (new, another)],
        "same_run": row is execution,
        "differs": differs is not None,
        "changes": changes(row.inputs, execution.inputs),
        "same_result": old.final == new.final,
        "choices": _choices(execution, new.attempts, family),
    }
    return page(request, "compare.html", context)


@router.post("/executions/{fid}/cancel")
async def cancel(panel: Panel, user: CurrentUser, execution: Execution) -> Response:
    """Cancel it, and back to its page; errors as of ``POST /outputs/{fid}/cancel``."""
    await actions.cancel_execution(panel, user, UUID(execution.fid))
    return RedirectResponse(f"../{execution.fid}", 303)


@router.post("/executions/{fid}/retry")
async def retry(panel: Panel, user: CurrentUser, execution: Execution) -> Response:
    """Retry it, and back to its page; errors as of ``POST /outputs/{fid}/retry``."""
    await actions.retry_execution(panel, user, execution)
    return RedirectResponse(f"../{execution.fid}", 303)


@router.post("/executions/{fid}/archive")
async def archive(panel: Panel, user: CurrentUser, execution: Execution) -> Response:
    """Archive it, and back to the list; errors as of ``DELETE /outputs/{fid}``."""
    await actions.archive(panel, user, execution)
    return RedirectResponse("../../executions", 303)


def _part(name: str) -> Callable[..., Awaitable[Response]]:
    async def part(request: Request, panel: Panel, execution: Execution, wish: Wish) -> Response:
        pane = await stretch(panel, execution, name, wish)
        return page(request, "_pane.html", {"row": execution, "pane": pane})

    return part


# One route each: other areas have paths below `/executions/{fid}` as well.
for _name in PANES:
    router.add_api_route(
        f"/executions/{{fid}}/{_name}",
        _part(_name),
        methods=["GET"],
        dependencies=[ReadsContents],
    )


def _pair(text: str) -> tuple[str | None, int | None]:
    """The execution and the attempt that ``fid attempt`` names."""
    fid, _, number = text.partition(" ")
    try:
        against = int(number) if number else None
        return (str(UUID(fid)), against) if fid else (None, against)
    except ValueError:
        return None, None


def _choices(
    execution: StoredExecution, attempts: list[int], family: Reruns
) -> list[tuple[str, int, str]]:
    """What there is to compare with: fid, attempt, and what people call it."""
    own = [(execution.fid, number, f"Attempt {number}") for number in attempts]
    kin = [("Rerun of", family.of)] if family.of is not None else []
    kin += [("Rerun as", each) for each in family.later]
    return own + [
        (each.fid, each.attempt, f"{word} {each.title} ({each.fid[:8]})") for word, each in kin
    ]


def _archived(row: StoredExecution) -> dict[str, Any]:
    return {"title": title(row), "fid": row.fid, "when": moment(row.archived_at)}


async def _open_locks(panel: State, user: User, row: StoredExecution) -> list[Lock]:
    """The questions that the run waits for."""
    if not row.locks or row.status in TERMINAL:
        return []
    locks = Locks(panel.reader)
    found = [await locks.read(row.fid, lid, user.id) for lid in row.locks[:QUESTIONS]]
    return [lock for lock in found if closed(lock) is None]


async def _cards(
    request: Request, panel: State, user: User, locks: list[Lock]
) -> list[dict[str, Any]]:
    """Those of the questions that this user may answer, to be answered on the run's page."""
    root = str(request.scope.get("root_path", "")).rstrip("/") + "/"
    own = [lock for lock in locks if lock.is_asked or user.operator]
    people = await people_of(panel.reader, own)
    return [
        card(lock, root, eager=True, here=True)
        | {"people": people[lock.fid, lock.lid], "may_hand_on": True}
        | offered(panel.settings, user, lock)
        for lock in own
    ]


async def _awaited(panel: State, user: User, locks: list[Lock]) -> str | None:
    """Who has to answer what this user may not, in words; None if there is nothing of it."""
    others = [lock for lock in locks if not (lock.is_asked or user.operator)]
    names = await names_in(panel.reader, (lock.asked for lock in others))
    words = (asked_words(lock.asked, names) if lock.asked else "its owner" for lock in others)
    return ", ".join(dict.fromkeys(words)) or None


async def _tail(panel: State, row: StoredExecution) -> dict[str, Any] | None:
    """The end of the log of a run that goes on, beside its output."""
    return None if row.status in TERMINAL else await stretch(panel, row, "tail", NEWEST)


async def _step(panel: State, row: StoredExecution) -> dict[str, str] | None:
    """What a run that goes on did last."""
    if row.status in TERMINAL:
        return None
    after = max(row.last_seq - STEPS, 0)
    events = await panel.reader.rows_of(StoredEvent, "latest_step", fid=row.fid, after=after)
    if not events:
        return {"kind": "", "words": ""}
    event = events[0]
    task = event.kind == Kind.DEBUG
    words = plain_line(render(event.kind, event.payload))
    return {"kind": "task" if task else event.kind, "words": words.removeprefix("task ")}


async def _deployment_name(panel: State, row: StoredExecution) -> str | None:
    """As lists have it; None while it is not known."""
    if row.deployment_id is None:
        return None
    names: list[str | None] = await panel.reader.values("deployment_name_of", fid=row.fid)
    return names[0] if names else None


async def _head(panel: State, user: User, row: StoredExecution) -> dict[str, Any]:
    envelope = final_envelope(row) if row.status == Status.FINISHED else None
    over = row.status in TERMINAL
    if over:
        panel.cancelled.discard(row.fid)
    file = result_file(row) if envelope else None
    attempts = await newest_attempts.began(panel.reader, [row])
    return listed(row, attempts.get(row.fid)) | {
        "family": await reruns(panel.reader, row, user.sees(panel.settings)),
        "subflows": [
            {"name": name or id_[:8], "key": id_, "url": flow_run_url(panel.settings, id_)}
            for id_, name in (await panel.subflows.of(panel.reader, row)).items()
        ],
        "over": over,
        "suspended": not over and any(await panel.reader.values("has_no_process", fid=row.fid)),
        "error": row.error if row.status == Status.ERROR else None,
        "cancelled": row.cancelled,
        "deployment_name": await _deployment_name(panel, row),
        "cancelling": not over and (row.state_name == "Cancelling" or row.fid in panel.cancelled),
        "retries": None if row.deployment_id else NO_DEPLOYMENT,
        "offset_from": began(row),
        "step": await _step(panel, row),
        "file": kind_words(file.name) if file is not None else None,
        "again": await again_url(panel.reader, row.fid, list(panel.services.mounted)),
        "ended": row.ended_at,
        "result": Markup(render(Kind.FINAL, envelope)) if envelope else None,
        "traceback": await _traceback(panel, row),
        "inputs": Markup(render(Kind.INPUTS, row.inputs)) if row.inputs else None,
        "attempt": row.attempt,
        "owner": row.username,
        "locks": row.locks,
        "archived": row.archived_at,
        "links": links(panel.settings, row),
        "budgets": await _budgets(panel, row),
        "details": {
            label: value
            for label, value in (
                ("Flow", row.flow_name),
                ("Description", row.description),
                ("Entry point", row.entry_point),
                ("App", row.app_url),
                ("Owner", row.username),
                ("Author", row.author),
                ("Organization", row.organization),
                ("Version", row.version),
                ("Deployment", row.deployment_id),
                ("Work pool", row.work_pool),
            )
            if value
        },
    }


async def _budgets(panel: State, row: StoredExecution) -> list[dict[str, Any]]:
    """Its budgets of which four fifths are spent, the fullest first."""
    spent = await panel.reader.rows_of(SpentBudget, "budgets_of", fid=row.fid)
    return [
        {"words": in_words(one.per, one.unit, one.spent, one.allowed), "over": one.over}
        for one in spent
    ]


async def _traceback(panel: State, row: StoredExecution) -> Markup | None:
    """The error that a failed execution ended with, if it has more than the one line."""
    if row.status != Status.ERROR:
        return None
    errors = await panel.reader.latest(row.fid, row.last_seq + 1, kinds=[Kind.ERROR], limit=1)
    if not errors or "\n" not in errors[0].payload.strip():
        return None
    return Markup(render(Kind.ERROR, errors[0].payload))
