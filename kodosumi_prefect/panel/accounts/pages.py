"""Your own account: password, API keys and theme."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from kodosumi_prefect.panel.accounts import api, role_api
from kodosumi_prefect.panel.accounts.login import cookie_path
from kodosumi_prefect.panel.accounts.requester import CurrentUser, InPerson, User
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.html.parts import complaints, refusal, shown
from kodosumi_prefect.panel.web.state import Panel, State
from kodosumi_prefect.panel.web.templating import THEMES
from kodosumi_prefect.vocabulary import THEME_COOKIE

FOR_EVER = "never"  # an empty field would count as one that was left out
LIVES = {"30": "30 days", "90": "90 days", "365": "1 year", FOR_EVER: "No expiry"}  # of an API key
USUAL_LIFE = "90"
THEME_SECONDS = 365 * 86_400

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form()]


@router.get("/account")
async def whole(request: Request, panel: Panel, user: CurrentUser) -> Response:
    """The page."""
    return await _page(request, panel, user, "account.html")


@router.post("/account/password")
async def change_password(
    request: Request, panel: Panel, user: InPerson, old: Text = "", new: Text = ""
) -> Response:
    """Change one's own password; other sessions end."""
    _require_passwords(panel)
    wrong: dict[str, str] = {}
    cookies = Response()
    try:
        changes = role_api.RoleChanges.model_validate({"password": new, "old_password": old})
        await role_api.change_role(request, cookies, panel, user, UUID(user.id), changes)
    except ValidationError as exc:
        too_long = "A password has at most 1024 characters."
        found = complaints(exc, {"password": too_long, "old_password": too_long})
        wrong = {"old": found.get("old_password", ""), "new": found.get("password", "")}
    except HTTPException as exc:
        said = refusal(exc)
        field = {403: "old", 422: "new"}.get(exc.status_code, "")
        wrong = {field: "The old password is wrong." if field == "old" else _after_name(said)}
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
    made = None
    try:
        life = None if days == FOR_EVER else days
        new = api.NewApiKey.model_validate({"name": name, "expires_days": life})
        made = await api.make_key(request, panel, user, new)
    except ValidationError as exc:
        words = {
            "name": "A name has 1 to 200 characters.",
            "expires_days": f"Choose up to {api.LONGEST_KEY_LIFE} days.",
        }
        wrong = complaints(exc, words)
    except HTTPException as exc:
        wrong = {"name" if exc.status_code == 422 else "": refusal(exc)}
    typed = {"name": name, "days": days} if wrong else {}
    more = {"made": made, "key_wrong": wrong, "key_typed": typed}
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
    answer = RedirectResponse(f"{request.scope.get('root_path', '')}/account", 303)
    secure = request.url.scheme == "https"
    path = cookie_path(request)
    if theme in THEMES:
        answer.set_cookie(
            THEME_COOKIE, theme, max_age=THEME_SECONDS, path=path, secure=secure, samesite="lax"
        )
    else:
        answer.delete_cookie(THEME_COOKIE, path=path, secure=secure, samesite="lax")
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
    return shown(request, "account.html", part, context | (more or {}), wrong=wrong)


def _require_passwords(panel: State) -> None:
    if panel.settings.auth != "password":
        raise HTTPException(403, "the proxy in front of the panel keeps passwords, not the panel")


def _after_name(text: str) -> str:
    """Without the API's name of the field before it."""
    said = text.removeprefix("Password: ")
    return f"{said[:1].upper()}{said[1:]}"
