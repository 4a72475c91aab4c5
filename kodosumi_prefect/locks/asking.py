"""Whom a question of a run is asked, what follows if nobody answers, and how many have to."""

import json
import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypedDict

from pydantic import BaseModel

from kodosumi_prefect.events import describe
from kodosumi_prefect.spooler.open_locks import (
    LONGEST_NAME,
    LONGEST_WAIT,
    MOST_ANSWERS,
    MOST_NAMES,
)
from kodosumi_prefect.spooler.rows import LATEST_TS

ANSWER_SECONDS = 3 * 3600.0  # seconds, by default; behind the last step
OWNER = "owner"
TEAM = "team:"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PARTS = re.compile(r"(?:(\d+(?:\.\d+)?)([smhd]))")

Duration = float | str | timedelta
Recipients = str | Sequence[str]


class AskOptions(TypedDict, total=False):
    """Further arguments of ``tracer.lock``.

    Attributes:
        ask: who may answer, beside operators: ``"owner"``, ``"team:legal"``, the name of an
            account, or a list of these; default the owner of the run.
        remind: after how long those asked are reminded, once: seconds, ``"4h"``, ``"1h30m"``,
            or a list of such times, each of which is a reminder.
        escalate: a time and who is asked then too, such as ``("8h", "team:lead")``; or a list.
        quorum: how many people have to answer. With more than one the answer is a list of
            their answers, in the order in which they came.
        on_expiry: what the run gets if nobody answers in time, JSON types or an instance of the
            form's class; default a ``TimeoutError``.
        link: links may be made with which people answer without signing in.
    """

    ask: Recipients | None
    remind: Duration | Sequence[Duration] | None
    escalate: tuple[Duration, Recipients] | Sequence[tuple[Duration, Recipients]] | None
    quorum: int
    on_expiry: Any
    link: bool


class Escalation(NamedTuple):
    """``after`` seconds these are asked too."""

    after: float
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asking:
    """The part of a question that is about people; without arguments as Kodosumi has it.

    Attributes:
        ask: as in ``AskOptions``, lower case; None for the owner.
        remind: seconds.
        on_expiry: what the run gets; ``TimeoutError`` for that.
    """

    ask: tuple[str, ...] | None = None
    remind: tuple[float, ...] = ()
    escalate: tuple[Escalation, ...] = ()
    quorum: int = 1
    on_expiry: Any = TimeoutError
    link: bool = False

    @classmethod
    def of(
        cls,
        lock: str,
        *,
        ask: Any = None,
        remind: Any = None,
        escalate: Any = None,
        quorum: Any = 1,
        on_expiry: Any = TimeoutError,
        link: Any = False,
        **unknown: Any,
    ) -> "Asking":
        """What an author gave ``tracer.lock``; see ``AskOptions``.

        Arguments:
            lock: its name, for errors.

        Raises:
            TypeError, ValueError: an argument is not as it should be, in one line.
        """
        where = f"tracer.lock({lock!r})"
        for argument in unknown:
            raise TypeError(f"{where}: there is no argument {argument!r}")
        if not isinstance(link, bool):
            raise TypeError(f"{where}: link is {describe(link)[:80]}; give True or False")
        if isinstance(quorum, bool) or not isinstance(quorum, int):
            raise TypeError(f"{where}: quorum is {describe(quorum)[:80]}; give a whole number")
        if not 1 <= quorum <= MOST_ANSWERS:
            raise ValueError(f"{where}: quorum is {quorum}; give 1 to {MOST_ANSWERS}")
        return cls(
            None if ask is None else _names(where, "ask", ask),
            _reminders(where, remind),
            _escalations(where, escalate),
            quorum,
            _value(where, on_expiry),
            link,
        )

    @property
    def raises(self) -> bool:
        """Whether the run gets an error if nobody answers in time."""
        return self.on_expiry is TimeoutError

    @property
    def expiry_value(self) -> Any:
        """JSON of what the run gets at the deadline; None if that is an error, or None."""
        value = self.on_expiry
        if self.raises:
            return None
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else value

    @property
    def fields(self) -> dict[str, Any]:
        """What a ``lock`` event says of it; nothing if nothing was given."""
        fields: dict[str, Any] = {}
        if self.ask is not None:
            fields["ask"] = list(self.ask)
        if self.remind:
            fields["remind"] = list(self.remind)
        if self.escalate:
            fields["escalate"] = [{"after": e.after, "to": list(e.to)} for e in self.escalate]
        if self.quorum != 1:
            fields["quorum"] = self.quorum
        if not self.raises:
            fields["on_expiry"] = self.expiry_value
        if self.link:
            fields["link"] = True
        return fields

    def timeout(self, lock: str, given: float | None) -> float:
        """Seconds until the question expires.

        Arguments:
            given: by the author; None means 3 hours after the last step.

        Raises:
            ValueError: a step comes later, or it is so long that it is none.
        """
        if given is not None and not time.time() + given < LATEST_TS:
            raise ValueError(
                f"tracer.lock({lock!r}): timeout is {given!r}; give seconds, which end in this "
                "century"
            )
        last = max([*self.remind, *(e.after for e in self.escalate)], default=0.0)
        if given is None:
            return last + ANSWER_SECONDS
        if last and last >= given:
            raise ValueError(
                f"tracer.lock({lock!r}): nothing can follow after {last:g} seconds, as the "
                f"question expires after {given:g}; give a longer timeout"
            )
        return given

    def read(self, answer: Any, read: Callable[[Any], Any]) -> Any:
        """What the author gets for what was answered; ``read`` reads one person's answer."""
        if self.quorum == 1 or not isinstance(answer, list):
            return read(answer)
        return [read(one) for one in answer]

    def at_deadline(self, error: TimeoutError) -> Any:
        """What the author gets if nobody answered in time.

        Raises:
            TimeoutError: that one, unless a value was given.
        """
        if self.raises:
            raise error
        return self.on_expiry


def seconds(duration: Duration) -> float:
    """A time as seconds: ``90``, ``"90s"``, ``"4h"``, ``"1h30m"``, ``"2d"``, a ``timedelta``.

    Raises:
        TypeError: it is no time.
        ValueError: it is not above 0, or above a year.
    """
    if isinstance(duration, timedelta):
        number = duration.total_seconds()
    elif isinstance(duration, str):
        text = duration.strip().lower()
        parts = _PARTS.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(
                f"{duration[:40]!r} is no time; give seconds, or such as '4h', '1h30m'"
            )
        number = sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        number = float(duration)
    else:
        raise TypeError(f"{describe(duration)[:80]} is no time; give seconds, or such as '4h'")
    if not 0 < number <= LONGEST_WAIT:
        raise ValueError(f"{duration!r} is not between 0 and a year")
    return number


def _names(where: str, argument: str, given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    if isinstance(names, Mapping) or not isinstance(names, Sequence):
        raise TypeError(
            f"{where}: {argument} is {describe(given)[:80]}; give 'owner', 'team:<name>', the name "
            "of an account, or a list of these"
        )
    if not 0 < len(names) <= MOST_NAMES:
        raise ValueError(f"{where}: {argument} names {len(names)}; give 1 to {MOST_NAMES}")
    read: list[str] = []
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{where}: {argument} has {describe(name)[:80]} in it; give names")
        if (folded := folded_name(name)) is None:
            raise ValueError(
                f"{where}: {argument} has {name[:80]!r} in it; give 'owner', 'team:<name>' or the "
                "name of an account"
            )
        if folded not in read:
            read.append(folded)
    return tuple(read)


def folded_name(name: str) -> str | None:
    """A name of who is asked as it is compared; None if it can be nobody's."""
    folded = unicodedata.normalize("NFKC", name).strip().lower()
    if folded.startswith(TEAM):
        folded = TEAM + folded.removeprefix(TEAM).strip()
    return folded if folded not in ("", TEAM) and len(folded) <= LONGEST_NAME else None


def _reminders(where: str, given: Any) -> tuple[float, ...]:
    if given is None:
        return ()
    several = isinstance(given, Sequence) and not isinstance(given, str)
    times = {_time(where, "remind", each) for each in _list(given, several)}
    return _bounded(where, "remind", tuple(sorted(times)))


def _escalations(where: str, given: Any) -> tuple[Escalation, ...]:
    if given is None:
        return ()
    wrong = TypeError(
        f"{where}: escalate is {describe(given)[:80]}; give a time and who is asked then, such as "
        "('8h', 'team:lead'), or a list of these"
    )
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise wrong
    several = all(isinstance(each, tuple | list) for each in given)
    read = []
    for each in _list(given, several):
        if isinstance(each, str) or not isinstance(each, Sequence) or len(each) != 2:
            raise wrong
        after, to = each
        read.append(Escalation(_time(where, "escalate", after), _names(where, "escalate", to)))
    return _bounded(where, "escalate", tuple(sorted(read)))


def _list(given: Any, several: bool) -> list[Any]:
    return list(given) if several else [given]


def _bounded(where: str, argument: str, steps: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(steps) > MOST_NAMES:
        raise ValueError(f"{where}: {argument} has {len(steps)} steps; give at most {MOST_NAMES}")
    return steps


def _time(where: str, argument: str, given: Any) -> float:
    try:
        return seconds(given)
    except (TypeError, ValueError) as exc:
        raise type(exc)(f"{where}: {argument}: {exc}") from None


def _value(where: str, value: Any) -> Any:
    if value is TimeoutError or isinstance(value, BaseModel):
        return value
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise TypeError(
            f"{where}: on_expiry is {describe(value)[:80]}; give JSON types, an instance of the "
            "form's class, or TimeoutError"
        ) from None
    return value
