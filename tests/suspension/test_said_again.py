"""Code between tasks runs again, and the record says what of it is only said again."""

import hashlib
import logging
from typing import Any

import prefect
import psycopg

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.spooler.replayed import AHEAD, MISSES, NOTICE, compare
from kodosumi_prefect.suspension.leg import current_leg
from tests.legs import Legs, suspended
from tests.services import Place, Recorded


def compared(words: str, before: str, misses: int = 0) -> tuple[str, int, int]:
    """Which words of one letter are said again, and where that leads to."""
    said = [
        (seq, "stdout", hashlib.sha256(word.encode()).digest())
        for seq, word in enumerate(before, start=1)
    ]
    fields = [tuple(Event(0.0, Kind.STDOUT, word)) for word in words]
    found, at, now = compare(fields, said, misses)
    return "".join("=" if again else "!" for again in found), at, now


def test_words_are_compared_in_order() -> None:
    assert compared("abc", "abc") == ("===", 3, 0)
    assert compared("aXbc", "abc") == ("=!==", 3, 0)  # a line more
    assert compared("ac", "abc") == ("==", 3, 0)  # a line less
    assert compared("ba", "ab") == ("=!", 2, 1)  # another order
    assert compared("aab", "ab") == ("=!=", 2, 0)
    assert compared("a", "b" * AHEAD + "a") == ("!", 0, 1)  # too far ahead
    assert compared("X" * (MISSES + 1) + "a", "a")[0] == "!" * (MISSES + 2)
    assert compared("a", "a", MISSES + 1)[0] == "!"  # it says other things since


def words(recorded: Recorded) -> list[tuple[str, str, bool]]:
    """Kind, text and whether it is only said again."""
    kinds = ("stdout", "debug", "result", "action", "progress")
    return [
        (event.kind, event.payload, bool((event.source or {}).get("replayed")))
        for event in recorded.events
        if event.kind in kinds and event.payload != NOTICE
    ]


def test_what_a_leg_says_again_is_marked_and_what_differs_stands(place: Place) -> None:
    log = logging.getLogger("author")

    @prefect.task
    def step(word: str, tracer: Tracer) -> str:
        tracer.debug(f"step {word} begins")
        if word == "second":
            suspended()
        return word

    @flow
    def talkative(tracer: Tracer) -> str:
        print("one")
        if current_leg():
            print("a line more")
        log.warning("two")
        tracer.progress(1, 2)
        first = step("first", tracer)
        tracer.result({"card": 1})
        print(f"leg {current_leg()}")
        second = step("second", tracer)
        tracer.progress(2, 2)
        print("one")
        return f"{first} {second}"

    legs = Legs(place, talkative)
    recorded = legs.to_its_end()
    said = words(recorded)
    assert [word for word in said if word[0] != "progress"] == [
        ("stdout", "one", False),
        ("debug", "two", False),
        ("debug", "step first begins", False),
        ("result", '{"dict": {"card": 1}}', False),
        ("stdout", "leg 0", False),
        ("debug", "step second begins", False),
        ("stdout", "one", True),
        ("stdout", "a line more", False),
        ("debug", "two", True),
        ("result", '{"dict": {"card": 1}}', True),
        ("stdout", "leg 1", False),
        ("debug", "step second begins", True),  # it was cut off, and begins anew
        ("stdout", "one", False),
    ]
    notices = [event for event in recorded.events if event.payload == NOTICE]
    assert [event.source for event in notices] == [
        {"level": "WARNING", "logger": "kodosumi_prefect"}
    ]
    again = Legs(place, talkative).to_its_end()
    assert NOTICE not in again.of("debug")  # once for a flow


def test_a_model_call_made_again_is_counted_priced_and_marked(place: Place) -> None:
    def call(tracer: Tracer, name: str) -> None:
        with tracer.span(name, type="llm", model="gpt-4o") as span:
            span.set(usage={"input": 100, "output": 10}, cost=0.5)

    @prefect.task
    def inside(tracer: Tracer) -> None:
        call(tracer, "in a task")

    @flow
    def thinking(tracer: Tracer) -> None:
        call(tracer, "between")
        inside(tracer)
        suspended()
        call(tracer, "between")

    recorded = Legs(place, thinking).to_its_end()
    assert recorded.row["model_calls"] == 4
    assert float(recorded.row["cost"]) == 2.0
    with psycopg.connect(place.database) as connection:
        rows = connection.execute(
            "SELECT name, leg, again FROM kodosumi.span WHERE execution_id = %s ORDER BY first_seq",
            (recorded.row["id"],),
        ).fetchall()
    assert rows == [
        ("between", 0, False),
        ("in a task", 0, False),
        ("between", 1, True),
        ("between", 1, False),
    ]


def test_many_words_are_marked_batch_by_batch(place: Place) -> None:
    @flow
    def chatty() -> None:
        for number in range(5000):
            print(number)
        suspended()
        print("behind")

    said: list[Any] = words(Legs(place, chatty).to_its_end())
    assert [again for _, _, again in said] == [False] * 5000 + [True] * 5000 + [False]
