"""A question to a human, as ``tracer.lock`` asks it: opened, waited for, its answer read."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any
from uuid import uuid4

from cryptography.fernet import InvalidToken
from pydantic import BaseModel

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import Kind, describe, serialize
from kodosumi_prefect.forms import (
    Field,
    InputFiles,
    InputsError,
    Model,
    from_pydantic,
    instance,
)
from kodosumi_prefect.forms.errors import GENERAL
from kodosumi_prefect.forms.files import KnownNames
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.locks.asking import Asking
from kodosumi_prefect.locks.news import AsyncNews, News
from kodosumi_prefect.locks.place import Earlier, Place
from kodosumi_prefect.locks.sealing import unsealed
from kodosumi_prefect.locks.waiting import get_waiter
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.stream.settled_locks import Settled
from kodosumi_prefect.vocabulary import lock_key

LAST_LOOK = 1.0  # seconds after the deadline in which an answer given in that moment may arrive


class VoidLockError(KodosumiError):
    """A lock can no longer be answered: its run ended or started again."""


class Wording:
    """The question.

    Arguments:
        name: of the lock.
        data: for whoever answers.
        form: a ``Model``, a class of pydantic models, or None: the service has the form.
        title: what people call it; None for the name.
        question: what is asked, in markdown.
        asking: who is asked, and what follows if nobody answers.

    Raises:
        TypeError: ``form``, ``title`` or ``question`` is something else.
    """

    def __init__(
        self,
        name: str,
        data: Any,
        form: Any,
        title: str | None = None,
        question: str | None = None,
        asking: Asking | None = None,
    ) -> None:
        for argument, value in (("title", title), ("question", question)):
            if not isinstance(value, str | None):
                raise TypeError(
                    f"tracer.lock({name!r}): {argument} is {describe(value)[:80]}; give text"
                )
        self.name = name
        self.title = title
        self.question = question
        self.data = data
        self.asking = asking or Asking()
        self.typed: type[BaseModel] | None = None
        self.model: Model | None = None
        if isinstance(form, Model):
            self.model = form
        elif isinstance(form, type) and issubclass(form, BaseModel):
            self.typed, self.model = form, from_pydantic(form)
        elif form is not None:
            raise TypeError(
                f"tracer.lock({name!r}): form is {describe(form)[:80]}; give a forms.Model or a "
                "class of pydantic models"
            )

    @property
    def words(self) -> dict[str, Any]:
        """``title``, ``question`` and what is said of who is asked, if they are given."""
        words = {"title": self.title, "question": self.question}
        return {key: value for key, value in words.items() if value is not None} | (
            self.asking.fields
        )

    def read(self, answer: Any) -> Any:
        """The answer that the author gets for what was given: of several people a list.

        Raises:
            InputsError: the form does not accept it.
        """
        return self.asking.read(answer, self._read_one)

    def _read_one(self, answer: Any) -> Any:
        if self.model is None or not isinstance(answer, dict):
            return answer
        files = {str(field.name) for field in self.model.fields if isinstance(field, InputFiles)}
        # They were chosen where the question was answered, and are in in/ by now.
        answer = {
            name: KnownNames(value) if name in files and value is not None else value
            for name, value in answer.items()
        }
        return self.model.read(answer) if self.typed is None else instance(self.typed, answer)


class Question:
    """One call of ``tracer.lock``.

    A form's own checks that only the run can make (a pydantic model's validators) refuse an
    answer by asking again, as a new lock whose form shows what was wrong.

    Arguments:
        timeout: seconds; None means 3 hours after the last reminder or escalation.
        fid: the execution.
        settings: where it is recorded.
        put: records an event, once for each key.
        place: of the call, in a run whose leg may end at it.
    """

    def __init__(
        self,
        wording: Wording,
        timeout: float | None,
        fid: str,
        settings: Settings,
        put: Callable[[Kind, str, str | None], object],
        place: Place | None = None,
    ) -> None:
        if not (settings.enabled and get_settings().enabled):
            raise KodosumiError(
                f"tracer.lock({wording.name!r}): nothing is recorded here (the setting `enabled` "
                "is off), so nobody could answer"
            )
        self._wording = wording
        self._timeout = wording.asking.timeout(wording.name, timeout)
        self._deadline = time.monotonic() + self._timeout
        self._fid = fid
        self._settings = settings
        self._waiter = get_waiter(settings)
        self._put = put
        self._place = place
        self._elements = wording.model.get_model() if wording.model is not None else None
        self._lid = ""

    async def ask(self) -> Any:
        """Wait for the answer; raises as ``Tracer.lock``."""
        while True:
            lid = self._next_lid()
            before = None
            if self._place is not None and self._place.later:
                before = await asyncio.to_thread(self._place.asked_before, lid)
            news = AsyncNews()
            with self._open(lid, before, news.tell) as settled:
                while not settled.done() and self._left > 0:
                    await news.wait(min(self._left, self._patience))
                    if not settled.done() and self._may_leave:
                        self._leave(await asyncio.to_thread(self._end_leg))
                if not settled.done():
                    until = self._expire()
                    while not settled.done() and (left := until - time.monotonic()) > 0:
                        await news.wait(left)
                if self._place is not None and self._place.undecided:
                    self._leave(await asyncio.to_thread(self._place.decision))
                outcome = settled.result() if settled.done() else None
            try:
                return self._answer(outcome)
            except InputsError as wrong:
                self._correct(outcome, wrong)

    def ask_sync(self) -> Any:
        """As ``ask``, for sync code."""
        while True:
            lid = self._next_lid()
            before = None
            if self._place is not None and self._place.later:
                before = self._place.asked_before(lid)
            news = News()
            with self._open(lid, before, news.tell) as settled:
                while not settled.done() and self._left > 0:
                    news.wait(min(self._left, self._patience))
                    if not settled.done() and self._may_leave:
                        self._leave(self._end_leg())
                if not settled.done():
                    until = self._expire()
                    while not settled.done() and (left := until - time.monotonic()) > 0:
                        news.wait(left)
                if self._place is not None and self._place.undecided:
                    self._leave(self._place.decision())
                outcome = settled.result() if settled.done() else None
            try:
                return self._answer(outcome)
            except InputsError as wrong:
                self._correct(outcome, wrong)

    @property
    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    @property
    def _patience(self) -> float:
        return math.inf if self._place is None else max(self._place.patience(), 0.0)

    @property
    def _may_leave(self) -> bool:
        return self._left > 0 and self._patience == 0

    def _end_leg(self) -> BaseException | None:
        return self._place.end_leg() if self._place is not None else None

    def _leave(self, signal: BaseException | None) -> None:
        if signal is not None:
            raise signal

    def _next_lid(self) -> str:
        return str(uuid4()) if self._place is None else self._place.next_lid()

    @contextmanager
    def _open(
        self, lid: str, before: Earlier | None, tell: Callable[[], None]
    ) -> Iterator["Future[Settled]"]:
        """A new lock, or that of an earlier leg.

        It is void if the block raises: nobody waits for it then, unless its leg ended.

        Arguments:
            tell: called, from any thread, once it is settled or ``_patience`` is less.
        """
        self._lid = lid
        if before is not None:
            self._deadline = time.monotonic() + before.left
            if before.state != "open":
                yield _settled_before(lid, before)
                return
        with nullcontext() if self._place is None else self._place.waiting(lid, tell):
            yield from self._asked(lid, before is None, tell)

    def _asked(self, lid: str, new: bool, tell: Callable[[], None]) -> Iterator["Future[Settled]"]:
        payload = {
            "name": self._wording.name,
            "lid": lid,
            "data": self._wording.data,
            "expires": time.time() + self._left,
        }
        payload |= self._wording.words
        if self._elements is not None:
            payload["elements"] = self._elements
        settled = self._waiter.wait(self._fid, lid)  # before anybody can answer
        settled.add_done_callback(lambda _: tell())
        try:
            if new:
                key = None if self._place is None else lock_key(lid)
                self._put(Kind.LOCK, serialize(payload), key)
            yield settled
        except BaseException as exc:
            interrupted = isinstance(exc, Exception | asyncio.CancelledError)  # and no signal
            if interrupted and self._place is not None and self._place.deciding:
                self._leave(self._place.decision())
            if self._place is None or not self._place.left:
                self._end("void")
            elif isinstance(exc, asyncio.CancelledError):
                self._leave(self._place.decision())  # what else ended with the leg cancels it
            raise
        finally:
            self._waiter.forget(lid)

    def _expire(self) -> float:
        """Record that the time is up; until when, of the monotonic clock, an answer may arrive."""
        self._end("expired")
        return time.monotonic() + LAST_LOOK

    def _end(self, state: str) -> None:
        """Record that nobody waits any more; an answer given before wins over this."""
        result = self._wording.asking.expiry_value if state == "expired" else None
        payload = {"name": self._wording.name, "lid": self._lid, "result": result, "state": state}
        self._put(Kind.LEASE, serialize(payload), None)

    def _answer(self, outcome: Settled | None) -> Any:
        name = self._wording.name
        if outcome is None or outcome.state == "expired":
            late = TimeoutError(f"lock {name!r} was not answered within {self._timeout:g} seconds")
            return self._wording.asking.at_deadline(late)
        if outcome.state != "leased":
            raise VoidLockError(f"lock {name!r} is void: its run ended or started again")
        return self._wording.read(self._unsealed(outcome))

    def _unsealed(self, outcome: Settled) -> Any:
        try:
            return unsealed(outcome.result, self._settings)
        except (NoKeyError, InvalidToken) as exc:
            raise KodosumiError(
                f"the answer to lock {self._wording.name!r} is encrypted and cannot be read here: "
                f"{exc or 'it needs the secret_key of the panel'}"
            ) from exc

    def _correct(self, outcome: Settled | None, wrong: InputsError) -> None:
        """The form of the next try: what was filled in, and what was wrong with it."""
        assert outcome is not None
        assert self._wording.model is not None
        answer = self._unsealed(outcome)
        values = answer if isinstance(answer, dict) else {}
        elements: list[dict[str, Any]] = [
            {"type": "markdown", "text": f"**{message}**"}
            for message in wrong.errors.get(GENERAL, ())
        ]
        for element in self._wording.model.get_model():
            name = element.get("name")
            kept = element["type"] not in ("password", "file")
            if kept and name in values and "value" in element:
                element["value"] = values[name]
            if name in wrong.errors:
                element["error"] = wrong.errors[name]
            elements.append(element)
        self._elements = elements


def _settled_before(lid: str, before: Earlier) -> "Future[Settled]":
    """The outcome that an earlier leg's lock has.

    One that this leg's code withdrew before it was answered has none here either.
    """
    settled: Future[Settled] = Future()
    if before.state != "void":
        settled.set_result(Settled(lid, before.state, before.result))
    return settled


def ask_here(wording: Wording) -> Any:
    """Ask at the terminal, for entrypoints that are run by hand; once for each answer it needs.

    Raises:
        KodosumiError: standard input has ended.
    """
    if wording.asking.quorum == 1:
        return _ask_once(wording)
    return [_ask_once(wording) for _ in range(wording.asking.quorum)]


def _ask_once(wording: Wording) -> Any:
    title = wording.title or wording.name
    _say(f"lock: {title}" + ("" if wording.data is None else f" {serialize(wording.data)}"))
    if wording.question is not None:
        _say(wording.question)
    while True:
        try:
            if wording.model is None:
                return _json(input("answer (JSON or text): "))
            answer = {str(field.name): _typed_in(field) for field in wording.model.fields}
        except EOFError:
            raise KodosumiError(
                f"tracer.lock({wording.name!r}) needs an answer, and standard input has "
                "ended; pipe the answer into it"
            ) from None
        try:
            return wording.read(wording.model.read(answer))
        except InputsError as wrong:
            _say(str(wrong))


def _typed_in(field: Field) -> Any:
    """One line for a field; an empty one stands for the value it is filled with."""
    default = getattr(field, "value", None)
    prompt = f"{field.label or field.name}" + (f" [{default}]" if default not in (None, "") else "")
    typed = input(f"{prompt}: ") or default
    if isinstance(field, InputFiles) and typed:
        return KnownNames([name.strip() for name in str(typed).split(",")])
    return typed


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
