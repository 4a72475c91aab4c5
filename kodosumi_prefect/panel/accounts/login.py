"""Signing in with a password, and the cookies that this sets."""

import secrets
from urllib.parse import urlsplit

from fastapi import Request, Response

from kodosumi_prefect.panel.accounts.accounts import Account
from kodosumi_prefect.panel.accounts.attempts import wait
from kodosumi_prefect.panel.accounts.identification import Identification
from kodosumi_prefect.panel.accounts.sessions import DEVICE_DAYS
from kodosumi_prefect.vocabulary import DEVICE_COOKIE, SESSION_COOKIE


async def signed_in(
    identification: Identification, request: Request, name: str, password: str
) -> Account | None:
    """The account of this name if the password is right; takes as long if there is none.

    Raises:
        TooManyAttemptsError: too many failed from here.
    """
    account = await identification.accounts.by_name(name)
    device = None
    if account is not None:
        device = _device(identification, request, account)
    address = request.client.host if request.client else ""
    known_as = name if account is None else account.name
    attempt = await identification.attempts.begin(known_as, address, device)
    await wait(attempt)
    fits = await identification.passwords.fits(password, account.password if account else None)
    if account is None or not account.active or not fits:
        return None
    await identification.attempts.succeeded(attempt)
    return account


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
    if _device(identification, request, account) is None:
        device = sessions.know_device(account.id, secrets.token_hex(16))
        name = sessions.own_cookie(DEVICE_COOKIE)
        _set(request, response, name, device, DEVICE_DAYS * 86_400)


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


def _device(identification: Identification, request: Request, account: Account) -> str | None:
    """Which browser this is, if the account was signed in there before."""
    for name in (identification.sessions.own_cookie(DEVICE_COOKIE), DEVICE_COOKIE):
        token = request.cookies.get(name, "")
        if (device := identification.sessions.device(token, account.id)) is not None:
            return device
    return None


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
