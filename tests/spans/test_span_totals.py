"""Totals of spans: each token is counted once, in whatever order the events come."""

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.spans.span import Usage, begin_payload, end_payload
from kodosumi_prefect.spooler.append import Spooler
from tests.spooler.recording import batch, execute, fresh, row

TOKENS = Usage(input=100, output=10, cached=5, reasoning=2)


@pytest.fixture
def spooler(database: str) -> Iterator[Spooler]:
    made = Spooler(database, "kodosumi")
    yield made
    made.close()


def began(id_: str, parent: str | None = None, type_: str = "llm", ts: float = 1.0) -> Event:
    payload = begin_payload(id_, f"{type_} {id_}", type_, parent=parent, model="m-1", provider="p")
    return Event(ts, Kind.SPAN, payload, 1)


def ended(id_: str, usage: Usage | None = None, ts: float = 2.0, **more: Any) -> Event:
    return Event(ts, Kind.SPAN, end_payload(id_, more.pop("status", "ok"), usage=usage, **more), 1)


def totals(url: str, fid: str) -> tuple[int, int, float, int]:
    """Calls of models, input tokens, cost, calls without a price."""
    found = row(url, fid)
    return (
        found["model_calls"],
        found["input_tokens"],
        float(found["cost"]),
        found["unpriced_calls"],
    )


def models(url: str, fid: str) -> list[dict[str, Any]]:
    query = """SELECT m.* FROM kodosumi.model_use m JOIN kodosumi.execution e
        ON e.id = m.execution_id WHERE e.fid = %s AND calls > 0 ORDER BY model"""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query, (fid,)).fetchall()


def spans(url: str, fid: str) -> dict[str, dict[str, Any]]:
    query = """SELECT s.* FROM kodosumi.span s JOIN kodosumi.execution e
        ON e.id = s.execution_id WHERE e.fid = %s"""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return {span["id"]: span for span in connection.execute(query, (fid,))}


def test_a_span_is_added_to_the_totals_at_its_end(spooler: Spooler, database: str) -> None:
    fid, writer = fresh(), fresh()
    spooler.append([batch(fid, began("a"), writer=writer)])
    assert totals(database, fid) == (1, 0, 0, 0)
    assert spans(database, fid)["a"]["status"] is None
    spooler.append([batch(fid, ended("a", TOKENS, cost=0.25), writer=writer, number=2)])
    assert totals(database, fid) == (1, 100, 0.25, 0)
    [use] = models(database, fid)
    assert (use["model"], use["provider"], use["calls"]) == ("m-1", "p", 1)
    assert (use["cached_tokens"], use["reasoning_tokens"], use["unpriced"]) == (5, 2, 0)
    spooler.append([batch(fid, began("a"), ended("a", TOKENS, cost=0.25), writer=writer, number=3)])
    assert totals(database, fid) == (1, 100, 0.25, 0), "what comes twice counts once"


# An agent over a call of a model over the provider's own span of the same call.
EVENTS = [
    began("agent", type_="agent"),
    began("call", "agent"),
    began("inner", "call"),
    ended("inner", TOKENS, cost=0.5),
    ended("call", TOKENS, cost=0.5),
    ended("agent", TOKENS, cost=0.5),
]


@pytest.mark.parametrize("seed", range(8))
def test_the_lowest_reporter_counts_in_any_order(
    spooler: Spooler, database: str, seed: int
) -> None:
    events = EVENTS.copy()
    random.Random(seed).shuffle(events)
    cut = seed % len(events)
    fid, writer = fresh(), fresh()
    pieces = [piece for piece in (events[:cut], events[cut:]) if piece]
    for number, piece in enumerate(pieces, 1):
        spooler.append([batch(fid, *piece, writer=writer, number=number)])
    _, tokens, cost, _ = totals(database, fid)
    assert (tokens, cost) == (100, 0.5)
    assert spans(database, fid)["inner"]["counted"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_spans_of_one_response_count_once(
    spooler: Spooler, database: str, order: tuple[int, ...]
) -> None:
    """Two libraries report the same call; a third call is another one."""
    ends = [
        ended("a", TOKENS, response="r-1", cost=0.5),
        ended("b", TOKENS, response="r-1", cost=0.5),
        ended("c", TOKENS, response="r-2"),
    ]
    fid, writer = fresh(), fresh()
    spooler.append([batch(fid, *map(began, "abc"), writer=writer)])
    for number, place in enumerate(order, 2):
        spooler.append([batch(fid, ends[place], writer=writer, number=number)])
    assert totals(database, fid) == (2, 200, 0.5, 1)
    fid = fresh()
    spooler.append([batch(fid, *map(began, "abc"), *(ends[place] for place in order))])
    assert totals(database, fid) == (2, 200, 0.5, 1)


def test_parents_in_a_circle_become_roots(spooler: Spooler, database: str) -> None:
    fid = fresh()
    events = [began("a", "b"), began("b", "c"), began("c", "a"), began("d", "a"), began("e", "e")]
    spooler.append([batch(fid, *events, *(ended(id_, TOKENS) for id_ in "abcde"))])
    found = spans(database, fid)
    assert {id_: span["parent"] for id_, span in found.items()} == {
        **dict.fromkeys("abce"),
        "d": "a",
    }
    assert totals(database, fid)[1] == 400, "all but a, below which d reports"


BROKEN = [
    "no json",
    "[]",
    '{"Span": 1}',
    '{"Span": {"at": "middle", "id": "x"}}',
    '{"Span": {"at": "begin", "id": ""}}',
    '{"Span": {"at": "begin", "id": {"a": 1}}}',
    json.dumps({"Span": {"at": "begin", "id": "x" * 65}}),
]


def test_what_is_in_no_format_does_nothing_and_the_rest_is_read(
    spooler: Spooler, database: str
) -> None:
    fid = fresh()
    events = [Event(1.0, Kind.SPAN, text, 1) for text in BROKEN]
    odd = {
        "at": "end",
        "id": "odd",
        "status": "perhaps",
        "model": "m\x00",
        "usage": {"input": -5, "output": 7, "cached": "many", "reasoning": True},
        "cost": float(10**30),
        "error": "e" * 5000,
        "unknown": [1],
    }
    begin = {"at": "begin", "id": "odd", "name": "n" * 5000, "type": "dance", "parent": "no\x00"}
    events += [Event(1.0, Kind.SPAN, json.dumps({"Span": body}), 1) for body in (begin, odd)]
    spooler.append([batch(fid, *events)])
    assert row(database, fid)["last_seq"] == len(events)
    [span] = spans(database, fid).values()
    assert (span["type"], span["status"], span["model"]) == ("custom", "ok", "m␀")
    assert (span["parent"], span["input_tokens"], span["output_tokens"]) == (None, None, 7)
    assert (span["cached_tokens"], span["reasoning_tokens"], span["cost"]) == (None, None, None)
    assert len(span["name"]) == 500
    assert len(span["error"]) == 2000
    assert totals(database, fid)[3] == 1


def test_ids_may_be_words_of_sql(spooler: Spooler, database: str) -> None:
    fid = fresh()
    events = [began("NULL"), began("below", "NULL"), ended("below", TOKENS), ended("NULL", TOKENS)]
    spooler.append([batch(fid, *events)])
    assert totals(database, fid)[1] == 100
    assert spans(database, fid)["NULL"]["used_below"]


def test_an_end_alone_is_a_span(spooler: Spooler, database: str) -> None:
    fid = fresh()
    event = ended("a", TOKENS, began=5.0, status="error", error="E: no", ts=6.0)
    spooler.append([batch(fid, event)])
    span = spans(database, fid)["a"]
    assert span["began_at"].timestamp() == 5.0
    assert (span["name"], span["type"], span["error"]) == ("unnamed", "custom", "E: no")
    assert row(database, fid)["span_errors"] == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0, 1)])
@pytest.mark.parametrize("together", [True, False])
def test_the_end_knows_better_what_a_span_is(
    spooler: Spooler, database: str, order: tuple[int, ...], together: bool
) -> None:
    begin = Event(1.0, Kind.SPAN, begin_payload("a", "POST", "custom", model="m"), 1)
    end = ended("a", TOKENS, name="chat m", type_="llm", model="m-2026")
    fid, writer = fresh(), fresh()
    events = [(begin, end)[number] for number in order]
    batches = [events] if together else [[event] for event in events]
    for number, sent in enumerate(batches, 1):
        spooler.append([batch(fid, *sent, writer=writer, number=number)])
    span = spans(database, fid)["a"]
    assert (span["name"], span["type"], span["model"]) == ("chat m", "llm", "m-2026")
    assert totals(database, fid) == (1, 100, 0, 1)


def test_spans_cost_one_try_a_batch_where_the_schema_is_older(
    spooler: Spooler, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    fid, writer = fresh(), fresh()
    execute(database, "DROP TABLE kodosumi.span")
    with caplog.at_level("DEBUG", "kodosumi_prefect.spooler.storing"):
        spooler.append([batch(fid, *(began(f"s{n}") for n in range(50)), writer=writer)])
    assert row(database, fid)["last_seq"] == 50
    assert len([r for r in caplog.records if "put_spans" in r.getMessage()]) == 1


def test_a_span_that_postgres_refuses_leaves_the_others(spooler: Spooler, database: str) -> None:
    fid = fresh()
    execute(database, "ALTER TABLE kodosumi.span ADD CHECK (name <> 'llm s7')")
    spooler.append([batch(fid, *(began(f"s{n}") for n in range(20)))])
    assert set(spans(database, fid)) == {f"s{n}" for n in range(20)} - {"s7"}
    assert totals(database, fid)[0] == 19


def test_the_first_spans_are_read_without_those_behind_them(
    spooler: Spooler, database: str
) -> None:
    fid = fresh()
    spooler.append([batch(fid, *(began(f"s{n}") for n in range(1000)))])
    asked = {"fid": fid, "after": 10, "limit": 5, "changed": None, "id": None}
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ANALYZE kodosumi.span")
        query = b"EXPLAIN " + Queries("kodosumi")["spans_of"]
        plan = "\n".join(line for (line,) in connection.execute(query, asked).fetchall())
    assert "span_first" in plan and "Sort" not in plan
