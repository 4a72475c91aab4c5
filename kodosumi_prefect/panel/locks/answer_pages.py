"""One question's form alone, for whoever has its link."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from kodosumi_prefect.database.rows.locks import Lock
from kodosumi_prefect.http.body import read_body
from kodosumi_prefect.http.multipart import is_multipart
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.locks.links import has_files, is_right_code
from kodosumi_prefect.panel.audit.entry import Actor, Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.html.forms import Messages, form_html, own_names
from kodosumi_prefect.panel.locks.actions import Desk, Filled
from kodosumi_prefect.panel.locks.cards import card
from kodosumi_prefect.panel.locks.desks import desk_of
from kodosumi_prefect.panel.locks.linking import Visit, visit
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import page
from kodosumi_prefect.refusals import RefusedError, UnsupportedError

CODE = "code"  # the field beside the form
WITH_FILES = "This form takes files, which need an account: sign in to answer it."

router = APIRouter(include_in_schema=False)

Token = Annotated[str, Path(max_length=200)]


@router.api_route("/answer/{token}", methods=["GET", "HEAD"])
async def question(request: Request, panel: Panel, token: Token) -> Response:
    """The question and its form; changes nothing, as scanners of mail open links too."""
    try:
        visited, desk, lock = await _at_desk(request, panel, token)
        elements = await desk.elements(lock)
    except RefusedError as exc:
        return _closed(request, exc)
    return _form(request, visited, lock, elements)


@router.post("/answer/{token}")
async def answer(request: Request, panel: Panel, token: Token) -> Response:
    """Answer it; the link is used up if the form accepts what was filled in."""
    try:
        visited, desk, lock = await _at_desk(request, panel, token)
        posted = await _posted(request)
        elements = await desk.elements(lock)
        if has_files(elements):
            return _form(request, visited, lock, elements, status=409)
        request.state.means = "link"
        actor = Actor(visited.link.account, visited.user.name)
        target = Target("lock", lock.lid, lock.heading)
        entry = record(request, Action.LOCK_ANSWER, target, actor=actor, fid=lock.fid)
        code = "" if visited.link.code_hash is None else str(posted.pop(CODE, ""))
        named = own_names(posted)
        if not await is_right_code(panel.reader, visited.link, token, code):
            entry.outcome, entry.details["code"] = Outcome.REFUSED, "wrong"
            wrong = Filled(None, None, elements)
            return _again(request, visited, lock, wrong, named, 422, "This is not the code.")
        filled = await desk.fill_in(lock, named)
    except RefusedError as exc:
        return _closed(request, exc)
    if filled.errors is not None:
        entry.outcome = Outcome.REFUSED
        return _again(request, visited, lock, filled, named, 422)
    return page(request, "answer.html", {"card": {"name": lock.heading}, "done": filled.given})


async def _at_desk(request: Request, panel: State, token: str) -> tuple[Visit, Desk, Lock]:
    visited = await visit(panel, token, request.client.host if request.client else "")
    request.state.means = "link"
    desk = desk_of(request, panel, visited.user, visited.hash)
    return visited, desk, await desk.open(visited.link.fid, visited.link.lid)


async def _posted(request: Request) -> dict[str, Any]:
    if is_multipart(request.headers.get("content-type", "")):
        raise UnsupportedError("files are not taken by a link; send the fields alone")
    return dict(await read_body(request))


def _again(
    request: Request,
    visited: Visit,
    lock: Lock,
    filled: Filled,
    posted: dict[str, Any],
    status: int,
    code_wrong: str = "",
) -> Response:
    """The form with what was typed, and what is wrong with it."""
    elements = filled.elements or []
    return _form(
        request,
        visited,
        lock,
        elements,
        filled.errors,
        posted,
        status=status,
        code_wrong=code_wrong,
    )


def _form(
    request: Request,
    visited: Visit,
    lock: Lock,
    elements: list[dict[str, Any]],
    errors: Messages | None = None,
    values: dict[str, Any] | None = None,
    *,
    status: int = 200,
    code_wrong: str = "",
) -> Response:
    root = str(request.scope.get("root_path", "")).rstrip("/") + "/"
    takes_files = has_files(elements)
    form = form_html(elements, errors, values, submit="Answer" if elements else "Go on")
    context = {
        "card": card(lock, root) | {"form": None if takes_files else form},
        "recipient": visited.user.name,
        "asks_code": visited.link.code_hash is not None,
        "code_wrong": code_wrong,
        "trouble": WITH_FILES if takes_files else None,
    }
    return page(request, "answer.html", context, status_code=status)


def _closed(request: Request, refusal: RefusedError) -> Response:
    context = {"card": {"name": "A question"}, "closed": refusal.detail}
    response = page(request, "answer.html", context, status_code=status_of(refusal))
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = f"{refusal.retry_after:.0f}"
    return response
