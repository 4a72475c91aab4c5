"""Words that a leg of a run only says again, since its code ran from the beginning once more.

Each that says something, which is the flow, a subflow or a task, is followed by itself: what it
says is compared with what it said in the leg before, in order. Lines may be added or missing. Who
says too many other things in a row says other things, and the rest of it stands. The cursor moves
in the transaction that stores the events, so that it is where it should be after any crash.
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import psycopg

from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.spooler.batch import KIND, PAYLOAD, Fields
from kodosumi_prefect.spooler.steps import Row, Statement, Steps

AHEAD = 50  # words of before that are looked through for one that is said
MISSES = 50  # words in a row that were not said before until nobody looks any more
WORDS = (
    *(Kind.STDOUT, Kind.STDERR, Kind.DEBUG),
    *(Kind.RESULT, Kind.ACTION, Kind.AGENT, Kind.PROGRESS),
)
NOTICE = (
    "this run was suspended and goes on: code outside its tasks runs again from the beginning, and "
    "what it says again is folded. Put what must not happen twice into a task (see What runs again "
    "in the documentation). This is said once for each flow."
)
_ATTEMPT, _SOURCE = (Event._fields.index(name) for name in ("attempt", "source"))
_MARK = '"replayed":true'


class Speaker(NamedTuple):
    """Who says something: a flow, a subflow or a task, in a leg of an attempt."""

    attempt: int
    leg: int
    call: str
    subflow: str


def is_replayed(event: Fields) -> bool:
    """Whether it was marked as said again."""
    source = event[_SOURCE]
    return source is not None and _MARK in source


def leg_of(source: str | None) -> int:
    """The leg that an event is of, from 0."""
    if source is None or '"leg":' not in source:
        return 0
    try:
        leg = orjson.loads(source).get("leg")
    except (ValueError, AttributeError):
        return 0
    return leg if isinstance(leg, int) and 0 < leg < 2**31 else 0


def marked(execution: int, events: list[Fields]) -> Steps[list[Fields]]:
    """The events of a batch, those marked that only say again what was said before."""
    said: dict[Speaker, list[int]] = {}
    for place, event in enumerate(events):
        if event[KIND] in WORDS and (speaker := _speaker(event)) is not None:
            said.setdefault(speaker, []).append(place)
    if not said:
        return events
    events = list(events)
    again = False
    for speaker, places in said.items():
        found = yield from _said_again(execution, speaker, [events[place] for place in places])
        for place, is_again in zip(places, found, strict=True):
            if is_again:
                events[place] = _with_mark(events[place])
                again = again or not speaker.call
    if again and (yield from _asked("notice_replay", {"id": execution})):
        last = Event._make(events[-1])
        source = orjson.dumps({"level": "WARNING", "logger": "kodosumi_prefect"}).decode()
        events.append(Event(time.time(), Kind.DEBUG, NOTICE, last.attempt, source))
    return events


def _said_again(execution: int, speaker: Speaker, words: Sequence[Fields]) -> Steps[list[bool]]:
    none = [False] * len(words)
    row = {
        "id": execution,
        "attempt": speaker.attempt,
        "leg": speaker.leg,
        "source": f"{speaker.subflow}/{speaker.call}",
    }
    cursor = yield from _asked("replay_cursor", row)
    if cursor is None:
        return none
    after, misses = cursor[0] if cursor else (0, 0)
    if misses > MISSES:
        return none
    before = yield from _asked(
        "words_before",
        {
            "id": execution,
            "after": after,
            "attempt": speaker.attempt,
            "kinds": [str(kind) for kind in WORDS],
            "call": speaker.call,
            "subflow": speaker.subflow,
            "before": str(speaker.leg - 1),
            "limit": len(words) + AHEAD,
        },
    )
    if before is None:
        return none
    found, at, misses = compare(words, before, misses)
    if at == len(before) and len(before) < len(words) + AHEAD:
        misses = MISSES + 1  # all was said again: what follows is new
    seq = before[at - 1][0] if at else after
    yield from _asked("move_replay", row | {"seq": seq, "misses": misses})
    return found


def compare(
    words: Sequence[Fields], before: Sequence[Row], misses: int
) -> tuple[list[bool], int, int]:
    """Which words were said before, how much of that was passed, and misses in a row by then.

    Arguments:
        before: seq, kind and digest of what was said, in order.
        misses: in a row, before these words.
    """
    found = []
    at = 0
    for word in words:
        digest = hashlib.sha256(word[PAYLOAD].encode("utf-8", "replace")).digest()
        place = None
        if misses <= MISSES:
            ahead = range(at, min(at + AHEAD, len(before)))
            same = (
                i for i in ahead if before[i][1] == word[KIND] and bytes(before[i][2]) == digest
            )
            place = next(same, None)
        found.append(place is not None)
        at, misses = (at, misses + 1) if place is None else (place + 1, 0)
    return found, at, misses


def _speaker(event: Fields) -> Speaker | None:
    source = event[_SOURCE]
    leg = leg_of(source)
    if not leg:
        return None
    parts = orjson.loads(source)
    call, subflow = parts.get("call"), parts.get("subflow")
    run = subflow.get("id") if isinstance(subflow, dict) else None
    return Speaker(event[_ATTEMPT], leg, str(call or ""), str(run or ""))


def _with_mark(event: Fields) -> Fields:
    source = orjson.dumps(orjson.loads(event[_SOURCE]) | {"replayed": True}).decode()
    return (*event[:_SOURCE], source, *event[_SOURCE + 1 :])


def _asked(query: str, parameters: dict[str, Any]) -> Steps[list[Row] | None]:
    """The rows of a query; None where the schema is older, or the role has few rights."""
    try:
        return (yield Statement(query, parameters, apart=True))
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
        psycopg.errors.InsufficientPrivilege,
    ):
        return None
