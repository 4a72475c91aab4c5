"""Your own account: password, API keys and theme."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from kodosumi_prefect.panel.accounts import actions
from kodosumi_prefect.panel.accounts.actions import (
    LONGEST_KEY_LIFE,
    InvalidPasswordError,
    NewApiKey,
    RoleChanges,
    WrongPasswordError,
    require_passwords,
    require_sign_in,
)
from kodosumi_prefect.panel.accounts.cookies import cookie_path, stay_signed_in, visitor
from kodosumi_prefect.panel.accounts.login_page import login_page
from kodosumi_prefect.panel.accounts.permissions import CurrentUser, InPerson, User, by_key
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import journal, record
from kodosumi_prefect.panel.html.parts import complaints, part_or_page, sentence
from kodosumi_prefect.panel.web.parameters import Panel
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.panel.web.templating import KEYS_OFF, THEMES
from kodosumi_prefect.refusals import InvalidError, RefusedError
from kodosumi_prefect.vocabulary import KEYS_COOKIE, THEME_COOKIE

FOR_EVER = "never"  # an empty field would count as one that was left out
LIVES = {"30": "30 days", "90": "90 days", "365": "1 year", FOR_EVER: "No expiry"}  # of an API key
USUAL_LIFE = "90"
PREFERENCE_SECONDS = 365 * 86_400

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form()]


@router.get("/login")
async def sign_in(request: Request, panel: Panel, redirect: str = "") -> Response:
    """The page to sign in at."""
    require_sign_in(panel)
    if "password" in request.query_params and "text/html" not in request.headers.get("accept", ""):
        detail = "a password has no place in an address, which logs keep; POST it to /login"
        raise HTTPException(400, detail)
    return login_page(request, redirect)


@router.get("/account")
async def whole(request: Request, panel: Panel, user: CurrentUser) -> Response:
    """The page."""
    return await _page(request, panel, user, "account.html")


@router.post("/account/password")
async def change_password(
    request: Request, panel: Panel, user: InPerson, old: Text = "", new: Text = ""
) -> Response:
    """Change one's own password; other sessions end."""
    require_passwords(panel)
    wrong: dict[str, str] = {}
    cookies = Response()
    try:
        changes = RoleChanges.model_validate({"password": new, "old_password": old})
        from_where = visitor(panel.identification, request)
        account = await actions.change_account(
            panel, user, UUID(user.id), changes, from_where, journal(request)
        )
        stay_signed_in(panel.identification, request, cookies, account)
    except ValidationError as exc:
        too_long = "A password has at most 1024 characters."
        by_field = complaints(exc, {"password": too_long, "old_password": too_long})
        wrong = {"old": by_field.get("old_password", ""), "new": by_field.get("password", "")}
    except WrongPasswordError:
        wrong = {"old": "The old password is wrong."}
    except InvalidPasswordError as exc:
        wrong = {"new": sentence(exc.detail.removeprefix("password: "))}
    except RefusedError as exc:
        wrong = {"": sentence(exc.detail)}
    answer = await _page(
        request,
        panel,
        user,
        "_account_password.html",
        {"password_wrong": wrong, "password_changed": not wrong},
        wrong=bool(wrong),
    )
    answer.raw_headers += [pair for pair in cookies.raw_headers if pair[0] == b"set-cookie"]
    return answer


@router.post("/account/keys")
async def make_key(
    request: Request, panel: Panel, user: CurrentUser, name: Text = "", days: Text = USUAL_LIFE
) -> Response:
    """Make an API key and show it this once."""
    wrong: dict[str, str] = {}
    key = None
    try:
        life = None if days == FOR_EVER else days
        new = NewApiKey.model_validate({"name": name, "expires_days": life})
        key = await actions.make_key(panel, user, new, journal(request), by_key=by_key(request))
    except ValidationError as exc:
        words = {
            "name": "A name has 1 to 200 characters.",
            "expires_days": f"Choose up to {LONGEST_KEY_LIFE} days.",
        }
        wrong = complaints(exc, words)
    except InvalidError as exc:
        wrong = {"name": sentence(exc.detail)}
    except RefusedError as exc:
        wrong = {"": sentence(exc.detail)}
    typed = {"name": name, "days": days} if wrong else {}
    more = {"new_key": key, "key_wrong": wrong, "key_typed": typed}
    return await _page(request, panel, user, "_account_keys.html", more, wrong=bool(wrong))


@router.post("/account/keys/{id}/revoke")
async def revoke_key(request: Request, panel: Panel, user: CurrentUser, id: UUID) -> Response:
    """Revoke one of one's own API keys."""
    if await panel.identification.keys.revoke(str(id), user.id):
        return await _page(request, panel, user, "_account_keys.html", {"revoked": True})
    wrong = {"": "This key was revoked already."}
    record(request, Action.KEY_REVOKE, Target("key", str(id)), outcome=Outcome.REFUSED)
    return await _page(request, panel, user, "_account_keys.html", {"key_wrong": wrong})


@router.post("/account/theme")
async def choose_theme(request: Request, user: CurrentUser, theme: Text = "") -> Response:
    """Store the chosen theme in a cookie; any other value means the system's."""
    return _preferred(request, THEME_COOKIE, theme if theme in THEMES else None)


@router.post("/account/shortcuts")
async def choose_keys(request: Request, user: CurrentUser, keys: Text = "") -> Response:
    """Store in a cookie whether keys of one letter do anything."""
    return _preferred(request, KEYS_COOKIE, KEYS_OFF if keys == KEYS_OFF else None)


def _preferred(request: Request, cookie: str, value: str | None) -> Response:
    """Back to the account, with a preference kept in this browser; None: the usual one."""
    answer = RedirectResponse(f"{request.scope.get('root_path', '')}/account", 303)
    secure = request.url.scheme == "https"
    path = cookie_path(request)
    if value is None:
        answer.delete_cookie(cookie, path=path, secure=secure, samesite="lax")
    else:
        answer.set_cookie(
            cookie, value, max_age=PREFERENCE_SECONDS, path=path, secure=secure, samesite="lax"
        )
    return answer


async def _page(
    request: Request,
    panel: State,
    user: User,
    part: str,
    more: dict[str, Any] | None = None,
    *,
    wrong: bool = False,
) -> Response:
    account = await panel.identification.accounts.by_id(user.id)
    context = {
        "account": account,
        "keys": await panel.identification.keys.of(user.id),
        "now": datetime.now(UTC),
        "lives": LIVES,
        "usual_life": USUAL_LIFE,
        "passwords": panel.settings.auth == "password",
        "session_hours": panel.settings.session_hours,
        "password_wrong": {},
        "key_wrong": {},
        "key_typed": {},
    }
    return part_or_page(request, "account.html", part, context | (more or {}), wrong=wrong)
