"""Recording what requests do, each before its answer is sent."""

import logging
from dataclasses import replace
from typing import Any

import psycopg
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kodosumi_prefect.panel.accounts.api_keys import ApiKeys
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.audit.entry import Actor, Entry, Key, Target
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.rules import RULES, Rule
from kodosumi_prefect.panel.audit.trail import Trail, failed_sign_in
from kodosumi_prefect.panel.web.proxy import own_path, public_path
from kodosumi_prefect.vocabulary import (
    API_KEY_HEADER,
    LAUNCH_HEADER,
    SCHEDULE_HEADER,
    SCHEDULED_HEADER,
)

logger = logging.getLogger(__name__)


def journal(request: Request) -> Journal:
    """Where what a request does is recorded, before it is answered."""
    if not hasattr(request.state, "audit"):
        request.state.audit = Journal()
    entries: Journal = request.state.audit
    return entries


def record(
    request: Request,
    action: Action,
    target: Target | None = None,
    *,
    outcome: Outcome | None = None,
    actor: Actor | None = None,
    **details: Any,
) -> Entry:
    """Have an action of a request recorded; see ``Journal.record``."""
    return journal(request).record(action, target, outcome=outcome, actor=actor, **details)


def sign_in_failed(request: Request, trail: Trail, name: str, **details: Any) -> None:
    """Have a failed sign-in recorded, with the name if it is an account's."""
    trail.sign_in_failed(name, failed_sign_in(**_where(request), details=details))


class Recording:
    """ASGI middleware inside the gate: records what handlers report and what ``rules`` names.

    It is stored before the answer begins, so that who has an answer is in the record. What breaks
    off without one counts as failed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if own_path(scope) == "/logout":
            await _identify(request)  # the gate lets everybody in there
        before = len(journal(request).entries)
        status = None

        async def recorded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and status is None:
                status = int(message["status"])
                headers = dict(message.get("headers", ()))
                if len(journal(request).entries) == before:
                    _add_unsaid(request, status, headers)
                await _store(request, status)
            await send(message)

        try:
            await self._app(scope, receive, recorded)
        finally:
            if status is None and len(journal(request).entries) == before:
                _add_unsaid(request, 500, {})
            await _store(request, status or 500)  # also what was recorded behind the answer


async def _identify(request: Request) -> None:
    """Note in the request who signs out, as their session may be invalid afterwards."""
    try:
        caller = await request.app.state.panel.identification.caller(request)
    except psycopg.Error:
        return
    if caller is not None:
        request.state.user, request.state.means = caller.user, caller.means


def _add_unsaid(request: Request, status: int, headers: dict[bytes, bytes]) -> None:
    """Record what the route's rule names, if its handler recorded nothing."""
    if journal(request).nothing:
        return
    user = getattr(request.state, "user", None)
    # Nobody signs out who is not signed in; nobody else comes in.
    if (rule := _rule(request)) is not None and not rule.silent and user is not None:
        journal(request).entries.append(_unsaid(request, rule, status, headers))


async def _store(request: Request, status: int) -> None:
    """Store all entries of a request that was answered with this status."""
    entries = journal(request).entries.copy()
    if not entries:
        return
    journal(request).entries.clear()
    panel = request.app.state.panel
    try:
        key = await _key(request, panel.identification.keys)
        await panel.trail.add([_completed(request, entry, status, key) for entry in entries])
    except Exception:  # a bug of ours, which must not undo the request
        panel.trail.lost += len(entries)
        logger.exception(
            "%s %s is not recorded in the audit", request.method, public_path(request.scope)
        )


async def _key(request: Request, keys: ApiKeys) -> Key | None:
    """The API key that a request was sent with."""
    if getattr(request.state, "means", None) != "key":
        return None
    try:
        named = await keys.named(request.headers.get(API_KEY_HEADER, ""))
    except psycopg.Error:
        return None
    return None if named is None else Key(*named)


def _rule(request: Request) -> Rule | None:
    path = getattr(request.scope.get("route"), "path", None)
    return RULES.get(f"{request.method} {path}")


def _unsaid(request: Request, rule: Rule, status: int, headers: dict[bytes, bytes]) -> Entry:
    """The entry of an action whose handler records nothing."""
    id_ = None if rule.parameter is None else str(request.path_params.get(rule.parameter, ""))
    entry = Entry(rule.actions[0], None if rule.kind is None else Target(rule.kind, id_))
    if "fid" in request.path_params and rule.kind != "execution":
        entry.details["fid"] = str(request.path_params["fid"])
    if rule.parameter == "address":
        _of_service(request, entry, f"/-/{id_}", status, headers)
    return entry


def _of_service(
    request: Request, entry: Entry, url: str, status: int, headers: dict[bytes, bytes]
) -> None:
    """What an endpoint's service did, by the headers of its answer."""
    scheduled = SCHEDULE_HEADER in request.headers
    if scheduled:
        entry.action = Action.SCHEDULE_CREATE
    entry.target = Target("endpoint", url)
    if (
        id_ := headers.get((SCHEDULED_HEADER if scheduled else LAUNCH_HEADER).encode())
    ) is not None:
        entry.target = Target("schedule" if scheduled else "execution", id_.decode("latin-1"), url)
    elif status < 400 and scheduled:
        entry.details["confirmed"] = False  # services of older versions do not send it
    elif status < 400:
        entry.outcome = Outcome.REFUSED  # it answered what is wrong with the inputs


def _completed(request: Request, entry: Entry, status: int, key: Key | None) -> Entry:
    """Complete with who did it, from where, by what means, and the outcome."""
    user = getattr(request.state, "user", None)
    entry = replace(entry, **_where(request))
    entry.outcome = entry.outcome or Outcome.of_status(status)
    if entry.actor is not None:
        entry.means = "password" if entry.action is Action.SIGN_IN else None
    elif isinstance(user, User):
        entry.actor = Actor(user.id, user.name)
    entry.means = entry.means or getattr(request.state, "means", None)
    entry.key = key
    return entry


def _where(request: Request) -> dict[str, Any]:
    return {
        "address": request.client.host if request.client else None,
        "user_agent": request.headers.get("user-agent"),
    }
