"""Locks as the panel serves them: who may answer, the form, and what was filled in."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import jwt
import orjson

from kodosumi_prefect.database.rows.locks import Lock, LockQuestion, LockStep
from kodosumi_prefect.forms import InputFiles, InputsError, Model
from kodosumi_prefect.http.errors import error_fields
from kodosumi_prefect.http.identity import LEEWAY
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.launch import sent_files
from kodosumi_prefect.locks.answering import (
    ONE,
    AnsweredError,
    Given,
    Locks,
    NotAskedError,
    SpentLinkError,
    closed,
    refusal,
    was_answered,
)
from kodosumi_prefect.locks.delegating import RecipientError, delegate
from kodosumi_prefect.locks.held import UnknownLockError
from kodosumi_prefect.locks.sealing import masked, sealed
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.services.calls import Answered
from kodosumi_prefect.panel.services.forwarding import BrokenServiceError
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    UnidentifiedError,
)
from kodosumi_prefect.serve import lock_facts
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import LOCK_FACTS_SCOPE

GUEST = "link:"  # before the name of who answers by a link and has no account


class ClosedLockError(ConflictError):
    """The lock is no longer open.

    Attributes:
        answered: somebody has answered it; else nobody waits for it any more.
    """

    def __init__(self, detail: str, *, answered: bool) -> None:
        super().__init__(detail)
        self.answered = answered


@dataclass(frozen=True, slots=True)
class Filled:
    """The outcome of a filled-in form: a result, or messages by field.

    Attributes:
        given: how many answers the question has by it, of those that it needs.
    """

    result: Any = None
    errors: dict[str, list[str]] | None = None
    elements: list[dict[str, Any]] | None = None
    given: Given = ONE

    @property
    def secrets(self) -> set[str]:
        """The names of its password fields."""
        return {str(e.get("name")) for e in self.elements or () if e.get("type") == "password"}


class Desk:
    """Where somebody answers locks.

    Arguments:
        user: who does.
        panel_url: where they reach the panel.
        means: how the panel knows them: ``session``, ``key``, ``proxy`` or ``link``.
        link: the hash of the link that they came with.
    """

    def __init__(
        self,
        panel: State,
        user: User,
        panel_url: str,
        means: str | None = None,
        link: str | None = None,
    ) -> None:
        self._panel = panel
        self._user = user
        self._url = panel_url
        self._means = means
        self._link = link
        self._locks = Locks(panel.reader)

    async def open(self, fid: str, lid: str) -> Lock:
        """A lock that this user may answer now.

        Raises:
            NotFoundError: there is none that they may see.
            ForbiddenError: they may not answer it.
            ClosedLockError: it is no longer open.
        """
        lock = await self._asking(fid, lid)
        if (reason := closed(lock)) is not None:
            raise ClosedLockError(reason, answered=was_answered(lock))
        return lock

    async def look(self, fid: str, lid: str) -> Lock:
        """A lock, open or not, of an execution that this user may see, or that they are asked.

        Raises:
            NotFoundError: there is none.
        """
        try:
            lock = await self._locks.read(fid, lid, self._user.id)
        except UnknownLockError as exc:
            await self._require_seen(fid)
            raise NotFoundError(str(exc)) from exc
        if not (lock.is_asked or self._user.operator):  # who sees every execution
            await self._require_seen(fid)
        return lock

    async def delegate(self, fid: str, lid: str, to: str) -> str:
        """Have somebody else asked in this user's place; their name.

        Raises:
            NotFoundError, ForbiddenError, ClosedLockError: as ``open``.
            InvalidError: there is no such account, or it cannot be asked.
        """
        await self.open(fid, lid)
        user = self._user
        try:
            return await delegate(
                self._panel.reader,
                fid,
                lid,
                to,
                by=user.id,
                name=user.name,
                means=self._means,
                operator=user.operator,
            )
        except RecipientError as exc:
            raise InvalidError(str(exc)) from exc
        except NotAskedError as exc:
            raise ForbiddenError(str(exc)) from exc
        except AnsweredError as exc:
            raise ClosedLockError(str(exc), answered=exc.answered) from exc

    async def elements(self, lock: Lock) -> list[dict[str, Any]]:
        """The lock's form: its own, or that of the service which launched the run.

        Raises:
            ServiceError: the service does not answer as it should.
        """
        if lock.elements is not None:
            own: list[dict[str, Any]] = json.loads(lock.elements)
            return own
        if lock.app_url is None:
            return []
        form = await self._ask(lock, lock.app_url, "GET")
        return _elements(form, lock.app_url)

    async def fill_in(self, lock: Lock, posted: dict[str, Any]) -> Filled:
        """Answer the lock with what was posted, unless the form does not accept that.

        Raises:
            ClosedLockError: somebody else was faster.
            UnavailableError: a password cannot be kept.
            ServiceError: as ``elements``.
        """
        filled = await self._checked(lock, posted)
        if filled.errors is not None:
            return filled
        try:
            await self._give_files(lock, posted, filled.elements or ())
        except InputsError as wrong:
            return Filled(None, error_fields(wrong), filled.elements)
        stored, masked_result = None, None
        if filled.secrets:
            values = [posted.get(name) for name in filled.secrets]
            typed = [value for value in values if isinstance(value, str) and value]
            # What a lease function makes of the form may hold a password anywhere.
            masked_result = masked(filled.result, filled.secrets, typed)
            try:
                stored = sealed(filled.result, self._panel.settings)
            except NoKeyError as exc:
                raise UnavailableError(str(exc)) from exc
        try:
            given = await self._locks.answer(
                lock.fid,
                lock.lid,
                filled.result,
                by=self._user.id,
                name=self._user.name,
                visible_result=masked_result,
                stored=stored,
                means=self._means,
                asked_only=not (self._user.operator or self._is_guest),
                link=self._link,
                settings=self._panel.settings,
            )
        except AnsweredError as exc:
            raise ClosedLockError(str(exc), answered=exc.answered) from exc
        except SpentLinkError as exc:
            raise ClosedLockError(str(exc), answered=False) from exc
        except NotAskedError as exc:
            raise ForbiddenError(str(exc)) from exc
        except NoKeyError as exc:
            raise UnavailableError(str(exc)) from exc
        except UnknownLockError as exc:
            raise NotFoundError(str(exc)) from exc
        if given.complete:
            self._panel.resuming.begin(lock.fid, self._panel.reader, self._panel.settings)
        visible = filled.result if masked_result is None else masked_result
        return Filled(visible, None, filled.elements, given)

    async def _give_files(
        self, lock: Lock, posted: dict[str, Any], elements: Iterable[Mapping[str, Any]]
    ) -> None:
        """Have what was chosen stand in the run's ``in/``, which continues with the answer.

        Raises:
            InputsError: it cannot be used.
            RefusedError: the database or the storage is away.
        """
        kinds = (each for each in elements if each.get("type") == InputFiles.type)
        sent = Model.from_elements(kinds).sent_files(posted)
        if not sent:
            return
        owner, settings = Owner(self._user.id, self._user.name), self._panel.settings
        await sent_files.check(sent, owner, settings, fid=lock.fid)
        await sent_files.claim(sent, owner, settings, fid=lock.fid)
        if not await sent_files.bind_now(lock.fid, sent_files.batches_of(sent), settings):
            raise UnavailableError("the files cannot be stored now; answer again")

    async def _checked(self, lock: Lock, posted: dict[str, Any]) -> Filled:
        if lock.elements is not None:
            elements = json.loads(lock.elements)
            try:
                values = Model.from_elements(elements).read(posted)
                return Filled(_as_json(values), None, elements)
            except InputsError as wrong:
                return Filled(None, error_fields(wrong), elements)
        if lock.app_url is None:
            return Filled(posted)
        where = lock.app_url
        answer = await self._ask(lock, where, "POST", posted)
        if not isinstance(answer, dict) or not answer.keys() & {"result", "errors"}:
            raise BrokenServiceError(f"service {where} answered neither result nor errors")
        elements = _elements(answer.get("elements") or [], where)
        if answer.get("errors"):
            return Filled(None, answer["errors"], elements)
        return Filled(answer.get("result"), None, elements)

    async def _ask(self, lock: Lock, base: str, method: str, body: Any = None) -> Any:
        if not await self._panel.register.has_base(base):
            raise BrokenServiceError(f"service {base}, which has the form, is not registered here")
        facts = lock_facts.LockFacts(lock.name, _data(lock), lock.expires)

        async def known(fid: str, lid: str) -> lock_facts.LockFacts:
            return facts

        answer = await self._panel.services.ask(
            base,
            method,
            f"/_lock_/{quote(lock.fid)}/{quote(lock.lid, safe='')}",
            body,
            self._user,
            self._url,
            {LOCK_FACTS_SCOPE: known},
        )
        return _read(answer, base)

    @property
    def _is_guest(self) -> bool:
        """Whether a link is all the right that somebody without an account has."""
        return self._link is not None and self._user.id.startswith(GUEST)

    async def _asking(self, fid: str, lid: str) -> Lock:
        """A lock that this user may answer, open or not."""
        if self._is_guest:
            try:
                return await self._locks.read(fid, lid)
            except UnknownLockError as exc:
                raise NotFoundError(str(exc)) from exc
        lock = await self.look(fid, lid)
        if not (lock.is_asked or self._user.operator):
            raise ForbiddenError(refusal(lock))
        return lock

    async def sees(self, fid: str) -> bool:
        """Whether this user may see an execution, not only what it asks."""
        visible = self._user.sees(self._panel.settings)
        return await self._panel.reader.status(fid, visible) is not None

    async def _require_seen(self, fid: str) -> None:
        if not await self.sees(fid):
            raise NotFoundError(f"there is no execution {fid}")


def signer(panel: State, signature: str, fid: str, lid: str) -> User:
    """For whom a service asks about a lock: the one who the panel called it for, about this lock.

    Raises:
        UnidentifiedError: the signature that it returns is not ours, or not for this lock.
    """
    try:
        claims = jwt.decode(
            signature,
            panel.services.key.public_key(),
            algorithms=["EdDSA"],
            leeway=LEEWAY,
            options={"require": ["sub", "exp", "path", "purpose"]},
        )
    except jwt.InvalidTokenError as exc:
        raise UnidentifiedError(f"the signature is not valid: {exc}") from exc
    # An endpoint of that path could be registered.
    about_lock = claims["purpose"] == "lock"
    if not about_lock or not str(claims["path"]).endswith(f"/_lock_/{fid}/{lid}"):
        raise UnidentifiedError("the signature is not for this lock")
    return User(claims["sub"], str(claims.get("name", "")), claims.get("operator") is True)


def facts_of(lock: Lock) -> dict[str, Any]:
    """What a service has to know about a lock."""
    return {
        "name": lock.name,
        "data": _data(lock),
        "inputs": json.loads(lock.inputs) if lock.inputs else None,
        "expires": lock.expires,
    }


def item_of(lock: LockQuestion) -> dict[str, Any]:
    """A lock in a list."""
    return {
        "fid": lock.fid,
        "lid": lock.lid,
        "name": lock.name,
        "title": lock.title,
        "question": lock.question,
        "summary": lock.summary or lock.flow_name,
        "opened": lock.opened,
        "expires": lock.expires,
        "elements": json.loads(lock.elements) if lock.elements else None,
        "asked": lock.asked,
        "quorum": lock.quorum,
    }


async def history(reader: Reader, lock: Lock) -> dict[str, Any]:
    """Who is asked a lock, and what was done about it."""
    rows = await reader.rows_of(LockStep, "lock_steps", fids=[lock.fid], lids=[lock.lid])
    steps = [
        {
            "step": row.step,
            "at": row.at,
            "by": row.who_name,
            "means": row.means,
            "asked": row.recipients,
            "reached": row.reached,
        }
        for row in rows
    ]
    return {"state": lock.state, "asked": lock.asked, "quorum": lock.quorum, "steps": steps}


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a form as JSON holds them: names of files as a list."""
    return {
        name: sorted(value) if isinstance(value, set) else value for name, value in values.items()
    }


def _data(lock: Lock) -> Any:
    return json.loads(lock.data) if lock.data else None


def _read(answer: Answered, service: str) -> Any:
    """The JSON that a service answered."""
    try:
        body = orjson.loads(answer.body)
    except ValueError:
        body = None
    if answer.status == 200 and body is not None:
        return body
    detail = body.get("detail") if isinstance(body, dict) else None
    raise BrokenServiceError(
        f"service {service} answered {answer.status}" + (f": {detail}" if detail else "")
    )


def _elements(elements: Any, service: str) -> list[dict[str, Any]]:
    if not isinstance(elements, list) or not all(isinstance(element, dict) for element in elements):
        raise BrokenServiceError(f"service {service} answered no list of elements")
    return elements
