"""Who is asked a question, and what was done about it, in words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kodosumi_prefect.database.rows.locks import AccountName, LockQuestion, LockStep
from kodosumi_prefect.locks.asking import OWNER, TEAM
from kodosumi_prefect.locks.following import NOBODY
from kodosumi_prefect.stream.reader import Reader

_MEANS = {"key": " by API key", "link": " by link"}
_IN_PERSON = ("session", "proxy", None)


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, in words, and when in epoch seconds."""

    words: str
    at: float


@dataclass(frozen=True, slots=True)
class People:
    """Who is asked a question now, and what was done about it.

    Attributes:
        asked: in words; None for the owner, as it is without a word about it.
        answers: how many there are, of ``quorum``.
    """

    asked: str | None
    steps: list[Step]
    answers: int
    quorum: int


async def people_of(reader: Reader, locks: Sequence[LockQuestion]) -> dict[tuple[str, str], People]:
    """Of each lock, by ``fid`` and ``lid``."""
    if not locks:
        return {}
    fids, lids = list({lock.fid for lock in locks}), list({lock.lid for lock in locks})
    steps: dict[tuple[str, str], list[LockStep]] = {}
    for step in await reader.rows_of(LockStep, "lock_steps", fids=fids, lids=lids):
        steps.setdefault((step.fid, step.lid), []).append(step)
    names = await names_in(reader, (lock.asked for lock in locks))
    return {
        (lock.fid, lock.lid): _people(lock, steps.get((lock.fid, lock.lid), []), names)
        for lock in locks
    }


async def names_in(reader: Reader, asked: Iterable[Sequence[str] | None]) -> dict[str, str]:
    """The names of accounts that are asked by their ids."""
    ids = {name[1:] for names in asked for name in names or () if name.startswith("@")}
    if not ids:
        return {}
    rows = await reader.rows_of(AccountName, "names_of_accounts", ids=list(ids))
    return {row.id: row.name for row in rows}


def asked_words(asked: Sequence[str], names: Mapping[str, str]) -> str:
    """Who is asked, such as “the owner and team legal”."""
    return _and([_word(name, names) for name in asked])


def step_words(step: LockStep) -> str:
    """What was done, such as “reminded Ann”."""
    whom = _and(step.reached)
    means = _MEANS.get(step.means or "", "")
    match step.step:
        case "delegated":
            return f"handed on to {whom} by {step.who_name}{means}"
        case "answered":
            return f"answered by {step.who_name}{means}"
        case "joined" | "left":
            more = "asked too" if step.step == "joined" else "asked no more"
            return f"{whom} {step.step} {asked_words(step.recipients, {})}: {more}"
    if not step.reached:
        return f"{step.step}: {NOBODY}"
    return f"asked {whom} too" if step.step == "escalated" else f"{step.step} {whom}"


def says_more(steps: Sequence[LockStep]) -> bool:
    """Whether steps say more than that somebody answered in person."""
    return not all(step.step == "answered" and step.means in _IN_PERSON for step in steps) or (
        len(steps) > 1
    )


def _people(lock: LockQuestion, steps: list[LockStep], names: Mapping[str, str]) -> People:
    return People(
        None if lock.asked is None else asked_words(lock.asked, names),
        [Step(step_words(step), step.at) for step in steps],
        sum(step.step == "answered" for step in steps),
        lock.quorum,
    )


def _word(name: str, names: Mapping[str, str]) -> str:
    if name == OWNER:
        return "the owner"
    if name.startswith("@"):
        return names.get(name[1:], "an account that is gone")
    return f"team {name.removeprefix(TEAM)}" if name.startswith(TEAM) else name


def _and(names: Sequence[str]) -> str:
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last
