"""Signing in and out, and API keys."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

import psycopg
from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from kodosumi_prefect.http.body import read_body
from kodosumi_prefect.http.untyped_json import is_json
from kodosumi_prefect.panel.accounts import actions
from kodosumi_prefect.panel.accounts.actions import NewApiKey
from kodosumi_prefect.panel.accounts.attempts import TooManyAttemptsError
from kodosumi_prefect.panel.accounts.cookies import forget_session, local_path, remember, visitor
from kodosumi_prefect.panel.accounts.login_page import login_page
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, by_key
from kodosumi_prefect.panel.accounts.sessions import new_session
from kodosumi_prefect.panel.audit.entry import Actor
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.recording import journal, record, sign_in_failed
from kodosumi_prefect.panel.html.parts import sentence
from kodosumi_prefect.panel.web.error_schemas import problems
from kodosumi_prefect.panel.web.errors import database_response, error_response
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.vocabulary import API_KEY_HEADER

WRONG = "name or password is wrong"

router = APIRouter(tags=["Accounts"])

Text = Annotated[str, StringConstraints(max_length=10_000)]


class Credentials(BaseModel):
    """Who signs in."""

    name: Text = ""
    password: Text = ""


class LoginForm(Credentials):
    """As the sign-in page sends it."""

    redirect: Text | None = Field(None, description="a path of the panel to open then")


class SignedIn(BaseModel):
    """Who signed in, and what to send as header `KODOSUMI_API_KEY` for `session_hours`."""

    name: str
    id: UUID
    KODOSUMI_API_KEY: str


class ApiKey(BaseModel):
    """An API key as lists show it; `prefix` is what it begins with."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None = Field(description="to the minute")


class MadeApiKey(ApiKey):
    """An API key that was just made; `key` is never shown again."""

    key: str


@router.post(
    "/login",
    response_model=SignedIn,
    summary="Sign in with a form",
    responses=problems(400, 401, 403, 413, 429),
)
async def login_by_form(
    request: Request, panel: Panel, form: Annotated[LoginForm, Form()]
) -> Response:
    """Sets the cookie `kodosumi_jwt`; with `redirect` it leads there instead of answering JSON.

    401 if name or password is wrong, 429 with `Retry-After` after too many failures.
    """
    if is_json(request.scope):  # which no form is read from
        try:
            form = LoginForm.model_validate(await read_body(request))
        except ValidationError as exc:
            raise RequestValidationError(exc.errors()) from exc
    response = await _login(request, panel, form)
    failed = response.status_code != 200
    if failed and "text/html" in request.headers.get("accept", ""):
        why = WRONG if response.status_code == 401 else "too many failed logins; try again later"
        again = login_page(request, form.redirect or "", sentence(why), form.name)
        again.status_code = response.status_code
        if (after := response.headers.get("Retry-After")) is not None:
            again.headers["Retry-After"] = after
        return again
    if failed or form.redirect is None:
        return response
    root = f"{request.scope.get('root_path', '')}/"
    onwards = RedirectResponse(local_path(form.redirect) or root, 303)
    onwards.raw_headers += [pair for pair in response.raw_headers if pair[0] == b"set-cookie"]
    return onwards


@router.post(
    "/api/login",
    response_model=SignedIn,
    summary="Sign in with JSON",
    responses=problems(400, 401, 403, 413, 429),
)
async def login_by_json(request: Request, panel: Panel, credentials: Credentials) -> Response:
    """As `POST /login`."""
    return await _login(request, panel, credentials)


@router.get("/logout", summary="Sign out by a link", responses=problems(403))
async def logout_by_link(request: Request, panel: Panel) -> Response:
    """Ends the session, as `POST /logout`; a browser is led to the sign-in page."""
    return await _logout(request, panel)


@router.post("/logout", summary="Sign out", responses=problems(403))
async def logout(
    request: Request,
    panel: Panel,
    everywhere: Annotated[
        bool, Query(description="End all sessions of the account, not only this browser's.")
    ] = False,
) -> Response:
    """Ends the session; its tokens are no longer valid. API keys stay valid."""
    if everywhere and (caller := await panel.identification.caller(request)) is not None:
        if caller.means == "key":
            raise HTTPException(403, "an API key may not end sessions; sign in to do this")
        await panel.identification.accounts.end_sessions(caller.user.id)
        record(request, Action.SIGN_OUT, everywhere=True)
    return await _logout(request, panel)


@router.get("/keys", summary="My API keys", responses=problems(403))
async def keys(
    panel: Panel,
    user: CurrentUser,
    role: Annotated[UUID | None, Query(description="Somebody else's; operators only.")] = None,
) -> list[ApiKey]:
    """Newest first, without those that were revoked."""
    whose = str(role or user.id)
    if not user.operator and whose != user.id:
        raise HTTPException(403, "only operators see other people's API keys")
    return [ApiKey(**asdict(row)) for row in await panel.identification.keys.of(whose)]


@router.post("/keys", status_code=201, summary="Create an API key", responses=problems(400, 413))
async def make_key(request: Request, panel: Panel, user: CurrentUser, new: NewApiKey) -> MadeApiKey:
    """For the header `KODOSUMI_API_KEY`. `key` of the answer is shown this once.

    An API key cannot make another: whoever finds one would have one of their own then.
    """
    key = await actions.make_key(panel, user, new, journal(request), by_key=by_key(request))
    return MadeApiKey(**asdict(key.row), key=key.secret)


@router.delete(
    "/keys/{id}", status_code=204, summary="Revoke an API key", responses=problems(403, 404)
)
async def revoke_key(request: Request, panel: Panel, user: CurrentUser, id: UUID) -> None:
    """One's own; operators anybody's, unless they send an API key."""
    whose = None if user.operator and not by_key(request) else user.id
    if not await panel.identification.keys.revoke(str(id), whose):
        if user.operator and by_key(request):
            raise HTTPException(403, "an API key can only revoke keys of its own account; sign in")
        raise HTTPException(404, f"there is no API key {id}")


async def _login(request: Request, panel: State, credentials: Credentials) -> Response:
    actions.require_sign_in(panel)
    identification = panel.identification
    try:
        account = await actions.sign_in(
            identification,
            visitor(identification, request),
            credentials.name,
            credentials.password,
        )
    except TooManyAttemptsError as exc:
        sign_in_failed(request, panel.trail, credentials.name, waiting=True)
        response = error_response(request, 429, str(exc))
        response.headers["Retry-After"] = str(round(exc.retry_after or 0))
        return response
    if account is None:
        sign_in_failed(request, panel.trail, credentials.name)
        return error_response(request, 401, WRONG)
    record(request, Action.SIGN_IN, actor=Actor(account.id, account.name))
    session = new_session()
    token = identification.sessions.begin(account.id, account.epoch, "header", session)
    response = JSONResponse({"name": account.name, "id": account.id, API_KEY_HEADER: token})
    remember(identification, request, response, account, session)
    return response


async def _logout(request: Request, panel: State) -> Response:
    identification = panel.identification
    response: Response = JSONResponse({"status": "signed out"})
    if "text/html" in request.headers.get("accept", ""):
        response = RedirectResponse(f"{request.scope.get('root_path', '')}/login", 303)
    try:
        for session in identification.sessions_of(request):
            await identification.ended.end(session)
    except psycopg.OperationalError as exc:  # the browser at least forgets it
        response = database_response(request, exc)
    forget_session(identification, request, response)
    return response
