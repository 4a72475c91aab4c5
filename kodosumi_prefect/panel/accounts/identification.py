"""Who sent a request: a header or a cookie, and the account behind it."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.panel.accounts.accounts import Account, Accounts, NameTakenError
from kodosumi_prefect.panel.accounts.api_keys import ApiKeys
from kodosumi_prefect.panel.accounts.attempts import Attempts
from kodosumi_prefect.panel.accounts.ended_sessions import EndedSessions
from kodosumi_prefect.panel.accounts.names import clean_name, folded
from kodosumi_prefect.panel.accounts.passwords import Passwords
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.accounts.sessions import Session, Sessions, Use
from kodosumi_prefect.panel.audit.entry import Actor, Target
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.recording import record
from kodosumi_prefect.panel.web.csrf import is_foreign
from kodosumi_prefect.panel.web.proxy import proxy_user
from kodosumi_prefect.refusals import UnidentifiedError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import API_KEY_HEADER, SESSION_COOKIE

Means = Literal["session", "key", "proxy"]
REMEMBERED = 1000  # names that were refused, so that each is logged once

logger = logging.getLogger(__name__)


class RefusedNameError(UnidentifiedError):
    """A reverse proxy names somebody by a name that no account can have as it is written."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, and by what that is known."""

    user: User
    means: Means


class Identification:
    """Finds out who sent a request.

    Arguments:
        settings: how people sign in.
        reader: of the accounts.

    Raises:
        OSError: the secret behind sessions cannot be written to the data dir.
    """

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self.settings = settings
        self.reader = reader
        self._refused: set[str] = set()
        self.accounts = Accounts(reader)
        self.keys = ApiKeys(reader)
        self.attempts = Attempts(reader)
        self.passwords = Passwords()
        self.sessions = Sessions(panel_keys(settings).session, settings.session_hours * 3600)
        self.ended = EndedSessions(reader)

    async def caller(self, request: Request) -> Caller | None:
        """Who sent the request; None if nobody who may.

        Raises:
            RefusedNameError: our proxy says that it is somebody who cannot have an account.
        """
        if (secret := request.headers.get(API_KEY_HEADER)) is not None:
            return await self._by_header(secret)
        if is_foreign(request):
            return None  # a foreign page may use keys that it knows, not the browser's cookies
        if self.settings.auth == "proxy":
            return await self._by_proxy(request, proxy_user(request.scope))
        for token in self._cookies(request):
            if (account := await self._by_session(token, "cookie")) is not None:
                return _caller(account, "session")
        return None

    def sessions_of(self, request: Request) -> list[Session]:
        """The sessions whose tokens a request brings, ended ones among them."""
        if (secret := request.headers.get(API_KEY_HEADER)) is not None:
            session = self.sessions.read(secret, "header")
            return [] if session is None else [session]
        if is_foreign(request) or self.settings.auth == "proxy":
            return []
        read = [self.sessions.read(token, "cookie") for token in self._cookies(request)]
        return list(dict.fromkeys(session for session in read if session is not None))

    def _cookies(self, request: Request) -> list[str]:
        """The tokens of its cookies: this panel's own, and under the name that any may set."""
        names = (self.sessions.own_cookie(SESSION_COOKIE), SESSION_COOKIE)
        return [request.cookies[name] for name in names if name in request.cookies]

    async def _by_header(self, secret: str) -> Caller | None:
        if (role_id := await self.keys.owner(secret)) is not None:
            return _caller(await self.accounts.recent(role_id), "key")
        return _caller(await self._by_session(secret, "header"), "session")

    async def _by_proxy(self, request: Request, name: str | None) -> Caller | None:
        """The account of exactly this name, but for case; one that is seen first gets one.

        Two people whom the proxy distinguishes must not become one here.
        """
        if not name:
            return None
        try:
            cleaned = clean_name(name)
        except ValueError as exc:
            raise self._refusal(name, str(exc)) from exc
        if cleaned != name:
            raise self._refusal(name, f"it would become {cleaned!r}")
        account = await self.accounts.by_name(name)
        if account is None:
            try:
                account = await self.accounts.add(name)
                whose = (account.id, account.name)
                of = Target("account", *whose)
                record(request, Action.ACCOUNT_CREATE, of, actor=Actor(*whose), outcome=Outcome.OK)
            except NameTakenError:  # by another request of the same person
                account = await self.accounts.by_name(name)
            except ValueError as exc:
                raise self._refusal(name, str(exc)) from exc
        if account is not None and folded(account.name) != folded(name):
            raise self._refusal(name, f"the database reads it as {account.name!r}")
        return _caller(account, "proxy")

    def _refusal(self, name: str, why: str) -> RefusedNameError:
        refusal = RefusedNameError(
            f"{self.settings.proxy_header} names {name[:80]!r}, who cannot have an account: {why}; "
            "have the proxy send another name",
        )
        if name not in self._refused and len(self._refused) < REMEMBERED:
            self._refused.add(name)
            logger.warning("refused a sign-in by the proxy: %s", refusal.detail)
        return refusal

    async def _by_session(self, token: str, use: Use) -> Account | None:
        session = self.sessions.read(token, use)
        if session is None:
            return None
        ended, account = await asyncio.gather(
            self.ended.has(session), self.accounts.recent(session.role_id)
        )
        valid = not ended and account is not None and account.epoch == session.epoch
        return account if valid else None


def _caller(account: Account | None, means: Means) -> Caller | None:
    if account is None or not account.active:
        return None
    return Caller(User(account.id, account.name, account.operator), means)
