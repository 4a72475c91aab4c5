"""A session in a browser: the cookies that signing in sets."""

import secrets
from urllib.parse import urlsplit

from fastapi import Request, Response

from kodosumi_prefect.panel.accounts.accounts import Account
from kodosumi_prefect.panel.accounts.actions import Visitor, known_device
from kodosumi_prefect.panel.accounts.identification import Identification
from kodosumi_prefect.panel.accounts.sessions import DEVICE_DAYS, new_session
from kodosumi_prefect.vocabulary import API_KEY_HEADER, DEVICE_COOKIE, SESSION_COOKIE


def visitor(identification: Identification, request: Request) -> Visitor:
    """From where a request comes, to tell who guesses passwords from who mistypes their own."""
    names = (identification.sessions.own_cookie(DEVICE_COOKIE), DEVICE_COOKIE)
    devices = tuple(request.cookies.get(name, "") for name in names)
    return Visitor(request.client.host if request.client else "", devices)


def remember(
    identification: Identification,
    request: Request,
    response: Response,
    account: Account,
    session: str,
) -> None:
    """Have the browser keep a session, and know it again after that.

    The session is kept twice: under this panel's own name, and under the one that clients know.
    Another panel on this machine may overwrite the latter.

    Arguments:
        session: its id.
    """
    sessions = identification.sessions
    token = sessions.begin(account.id, account.epoch, "cookie", session)
    for name in (sessions.own_cookie(SESSION_COOKIE), SESSION_COOKIE):
        _set(request, response, name, token, int(sessions.seconds))
    if known_device(identification, visitor(identification, request), account) is None:
        device = sessions.know_device(account.id, secrets.token_hex(16))
        name = sessions.own_cookie(DEVICE_COOKIE)
        _set(request, response, name, device, DEVICE_DAYS * 86_400)


def stay_signed_in(
    identification: Identification, request: Request, response: Response, account: Account
) -> None:
    """Begin a new session after one's password has ended all; only in a browser that has one."""
    if request.headers.get(API_KEY_HEADER) is None and request.state.means == "session":
        remember(identification, request, response, account, new_session())


def forget_session(identification: Identification, request: Request, response: Response) -> None:
    """Have the browser forget its session, and leave it those of other panels."""
    names = [identification.sessions.own_cookie(SESSION_COOKIE)]
    if identification.sessions.read(request.cookies.get(SESSION_COOKIE, ""), "cookie") is not None:
        names.append(SESSION_COOKIE)
    for name in names:
        response.delete_cookie(
            name,
            path=cookie_path(request),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )


def local_path(target: str) -> str | None:
    """Where to go after signing in, if it is a path of this server and nothing else."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    plain = target.isprintable() and target.isascii() and "\\" not in target
    if not plain or parts.scheme or parts.netloc or not target.startswith("/"):
        return None
    return None if target.startswith("//") else target


def _set(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=cookie_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def cookie_path(request: Request) -> str:
    """The path of the panel's cookies: where it is served."""
    return str(request.scope.get("root_path", "")) or "/"
