"""Questions of runs to people, answered on the page."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from markupsafe import Markup

from kodosumi_prefect.database.rows.locks import LockQuestion
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.files.posted_form import read_form
from kodosumi_prefect.panel.html.forms import Messages, own_names
from kodosumi_prefect.panel.locks.actions import Desk, Filled
from kodosumi_prefect.panel.locks.cards import card as card_of
from kodosumi_prefect.panel.locks.cards import form_of
from kodosumi_prefect.panel.locks.desks import desk_of
from kodosumi_prefect.panel.locks.linking import new_link, offered
from kodosumi_prefect.panel.locks.people import people_of
from kodosumi_prefect.panel.services.forwarding import ServiceError
from kodosumi_prefect.panel.web.kodosumi_pages import redirect
from kodosumi_prefect.panel.web.parameters import Lid, Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.refusals import ConflictError, ForbiddenError, InvalidError, RefusedError
from kodosumi_prefect.spooler.open_locks import LONGEST_ID

CARDS = 50  # questions on a page
EAGER = 3  # forms of services that a page asks for by itself, so that slow ones do not pile up
MOST = 500  # ids of one answer
CHANGED = {"HX-Trigger": "kodosumi:waiting"}  # has the count in the bar asked again

router = APIRouter(include_in_schema=False)

Mine = Annotated[bool, Query(description="Only what one is asked oneself.")]
Before = Annotated[str | None, Query(max_length=LONGEST_ID, pattern=r"^[\w.:-]+$")]


@router.get("/waiting")
async def waiting(
    request: Request, panel: Panel, user: CurrentUser, before: Before = None, mine: Mine = False
) -> Response:
    """The page, newest first; for operators also by itself what they are asked themselves."""
    locks = Locks(panel.reader)
    account = user.id if mine else user.limited_to
    rows = await locks.open(account=account, before=before, limit=CARDS + 1)
    cards = await _cards(request, panel, user, rows[:CARDS])
    for card in [card for card in cards if card["form"] is None][:EAGER]:
        card["eager"] = True
    context = {
        "cards": cards,
        "before": before,
        "older": cards[-1]["lid"] if len(rows) > CARDS else None,
        "count": await locks.count(account),
        "mine": mine,
        "everybodys": user.operator,
    }
    return page(request, "waiting.html", context)


@router.get("/waiting/count")
async def count(panel: Panel, user: CurrentUser) -> Response:
    """How many questions wait for whoever asks; empty for none."""
    number = await Locks(panel.reader).count(user.limited_to)
    return HTMLResponse("99+" if number > 99 else str(number or ""))


@router.get("/waiting/open")
async def which(panel: Panel, user: CurrentUser, mine: Mine = False) -> Response:
    """``{"open": [[fid, lid]], "all"}``, newest first; ``all`` is false if there are more."""
    account = user.id if mine else user.limited_to
    ids = await Locks(panel.reader).ids(account, MOST + 1)
    return JSONResponse({"open": ids[:MOST], "all": len(ids) <= MOST})


@router.get("/waiting/{fid}/{lid}")
async def one(request: Request, panel: Panel, user: CurrentUser, fid: UUID, lid: Lid) -> Response:
    """One question: its card for htmx, which asks for a service's form by itself; else a page."""
    desk = desk_of(request, panel, user)
    try:
        lock = await desk.open(str(fid), lid)
    except (ForbiddenError, ConflictError) as exc:
        return await _closed(request, panel, str(fid), lid, exc)
    card = await _one_card(request, panel, user, lock, eager=True)
    if card["form"] is None and not _is_htmx(request):
        try:
            card |= _form(request, lock, await desk.elements(lock))
        except ServiceError as exc:
            card |= {"trouble": exc.detail, "eager": False}
    return _answer(request, card)


@router.get("/waiting/{fid}/{lid}/form")
async def form(request: Request, panel: Panel, user: CurrentUser, fid: UUID, lid: Lid) -> Response:
    """What stands in a card in place of the form of a service, once that has answered."""
    desk = desk_of(request, panel, user)
    try:
        lock = await desk.open(str(fid), lid)
        card = _card(request, lock) | _form(request, lock, await desk.elements(lock))
    except ServiceError as exc:
        card = _card(request, lock) | {"trouble": exc.detail}
    except (ForbiddenError, ConflictError) as exc:
        card = {"fid": str(fid), "lid": lid, "closed": exc.detail}
    return page(request, "_lock_form.html", {"card": card})


@router.post("/waiting/{fid}/{lid}")
async def answer(
    request: Request, panel: Panel, user: CurrentUser, fid: UUID, lid: Lid
) -> Response:
    """Answer it; for htmx the card as it stands then, what was typed in it if it is wrong."""
    return await _submit(
        request, panel, user, fid, lid, RedirectResponse(f"{_root(request)}waiting", 303)
    )


@router.post("/waiting/{fid}/{lid}/delegate")
async def delegate(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    fid: UUID,
    lid: Lid,
    to: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Hand it on; for htmx the card as it stands then."""
    desk = desk_of(request, panel, user)
    entry = record(request, Action.LOCK_DELEGATE, Target("lock", lid), fid=str(fid))
    try:
        entry.details["to"] = await desk.delegate(str(fid), lid, to)
    except (ForbiddenError, ConflictError, InvalidError) as exc:
        entry.outcome = Outcome.of_status(status_of(exc))
        if isinstance(exc, InvalidError):
            lock = await desk.open(str(fid), lid)
            card = await _one_card(request, panel, user, lock, eager=True)
            return _answer(request, card | {"not_handed_on": exc.detail, "to": to}, 422)
        return await _closed(request, panel, str(fid), lid, exc)
    if not _is_htmx(request):
        return RedirectResponse(f"{_root(request)}waiting", 303)
    lock = await Locks(panel.reader).read(str(fid), lid)
    handed_on = {"handed_on": entry.details["to"]}
    return _answer(request, _card(request, lock) | handed_on, headers=CHANGED)


@router.post("/waiting/{fid}/{lid}/links")
async def link(
    request: Request,
    panel: Panel,
    user: CurrentUser,
    fid: UUID,
    lid: Lid,
    account: Annotated[str, Form(max_length=200)] = "",
    recipient: Annotated[str, Form(max_length=200)] = "",
    code: Annotated[bool, Form()] = False,
) -> Response:
    """Make a link to answer with; it is shown this once."""
    desk = desk_of(request, panel, user)
    entry = record(request, Action.LINK_CREATE, Target("lock", lid), fid=str(fid))
    lock = await desk.open(str(fid), lid)
    context: dict[str, Any] = {"card": _card(request, lock) | {"link": True}}
    status = 200
    try:
        made = await new_link(
            panel, user, lock, account=account, recipient=recipient, with_code=code
        )
        entry.details |= {"recipient": made.recipient, "code": code}
        context["made"] = made
    except RefusedError as exc:
        status = 422 if _is_htmx(request) else status_of(exc)
        entry.outcome = Outcome.of_status(status)
        context |= {"no_link": exc.detail, "account": account, "recipient": recipient}
    name = "_lock_link.html" if _is_htmx(request) else "lock_link.html"
    return page(request, name, context, status_code=status)


@router.get("/inputs/lock/{fid}/{lid}")
async def kodosumi_lock(request: Request, user: CurrentUser, fid: UUID, lid: Lid) -> Response:
    """Kodosumi's address of a question's page."""
    return redirect(request, f"waiting/{fid}/{lid}")


@router.post("/inputs/lock/{fid}/{lid}")
async def kodosumi_answer(
    request: Request, panel: Panel, user: CurrentUser, fid: UUID, lid: Lid
) -> Response:
    """Answer what Kodosumi has at this address; leads to the execution."""
    return await _submit(request, panel, user, fid, lid, redirect(request, f"executions/{fid}"))


async def _submit(
    request: Request, panel: State, user: User, fid: UUID, lid: str, onwards: Response
) -> Response:
    desk = desk_of(request, panel, user)
    entry = record(request, Action.LOCK_ANSWER, Target("lock", lid), fid=str(fid))
    fields, not_taken = await read_form(request, panel, user, lid)
    posted = own_names(fields)
    try:
        lock = await desk.open(str(fid), lid)
        if not_taken:
            filled = Filled(None, not_taken, await desk.elements(lock))
        else:
            filled = await desk.fill_in(lock, posted)
    except RefusedError as exc:
        status = status_of(exc)
        entry.outcome = Outcome.of_status(status)
        if status not in (403, 409, 502, 503, 504):
            raise
        return await _refused(request, panel, desk, str(fid), lid, posted, exc)
    if filled.errors is not None:
        corrected = _form(request, lock, filled.elements or [], filled.errors, posted)
        return _answer(request, await _one_card(request, panel, user, lock) | corrected, 422)
    if not _is_htmx(request):
        return onwards
    done = {"answered": True, "given": filled.given}
    return _answer(request, _card(request, lock) | done, headers=CHANGED)


async def _closed(
    request: Request, panel: Panel, fid: str, lid: str, refusal: ForbiddenError | ConflictError
) -> Response:
    """The card of a question that cannot be answered (any more), with why."""
    card = _card(request, await Locks(panel.reader).read(fid, lid))
    status = 200 if _is_htmx(request) else status_of(refusal)
    return _answer(request, card | {"closed": refusal.detail}, status)


async def _refused(
    request: Request,
    panel: Panel,
    desk: Desk,
    fid: str,
    lid: str,
    posted: dict[str, Any],
    refusal: RefusedError,
) -> Response:
    """Why the answer is not accepted, shown beside what was typed, which stays."""
    if not _is_htmx(request):
        if isinstance(refusal, ForbiddenError | ConflictError):
            return await _closed(request, panel, fid, lid, refusal)
        try:
            lock = await desk.open(fid, lid)
            elements = await desk.elements(lock)
        except RefusedError:
            raise refusal from None  # without its form there is nothing to keep
        card = _card(request, lock) | _form(request, lock, elements, None, posted)
        return _answer(request, card | {"trouble": refusal.detail}, status_of(refusal))
    headers = {"HX-Retarget": f'[id="trouble-{lid}"]', "HX-Reswap": "innerHTML", **CHANGED}
    return HTMLResponse(str(Markup.escape(refusal.detail)), headers=headers)


async def _cards(
    request: Request, panel: State, user: User, locks: Sequence[LockQuestion], eager: bool = False
) -> list[dict[str, Any]]:
    """Cards with who is asked, and what was done about it."""
    people = await people_of(panel.reader, locks)
    return [
        _card(request, lock, eager=eager)
        | {
            "people": people[lock.fid, lock.lid],
            "seen": user.owns(lock.owner),
            "may_hand_on": True,
        }
        | offered(panel.settings, user, lock)
        for lock in locks
    ]


async def _one_card(
    request: Request, panel: State, user: User, lock: LockQuestion, *, eager: bool = False
) -> dict[str, Any]:
    [card] = await _cards(request, panel, user, [lock], eager)
    return card


def _card(request: Request, lock: LockQuestion, *, eager: bool = False) -> dict[str, Any]:
    return card_of(lock, _root(request), eager=eager, here=_is_here(request))


def _form(
    request: Request,
    lock: LockQuestion,
    elements: list[dict[str, Any]],
    errors: Messages | None = None,
    values: dict[str, Any] | None = None,
) -> dict[str, Any]:
    here = _is_here(request)
    return form_of(lock, _root(request), elements, errors, values, here=here)


def _answer(
    request: Request,
    card: dict[str, Any],
    status_code: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    name = "_lock.html" if _is_htmx(request) else "waiting_one.html"
    response = page(request, name, {"card": card}, status_code=status_code)
    response.headers.update(headers or {})
    return response


def _is_htmx(request: Request) -> bool:
    return "hx-request" in request.headers


def _is_here(request: Request) -> bool:
    """Whether the page of a run asks for it."""
    return "/executions/" in request.headers.get("hx-current-url", "")


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/") + "/"
