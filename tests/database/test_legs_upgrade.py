"""Legs of suspended runs: executions of before, and writers on an older schema."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.database import migrate
from kodosumi_prefect.spans.span import begin_payload, end_payload
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.database.test_migrations import upgrade_to
from tests.spooler.recording import batch, entered, execute, fresh, said


@pytest.fixture
def older(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as it was before runs had legs."""
    name = f"older_{fresh().replace('-', '')}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE template0")
    url = make_conninfo(postgres.url, dbname=name)
    upgrade_to(url, "0022")
    yield url
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_leg_is_recorded_before_the_upgrade_and_marked_after_it(older: str) -> None:
    fid = fresh()
    later = {"source": json.dumps({"leg": 1})}
    spooler = Spooler(older, "kodosumi")
    try:
        span = (said(begin_payload("a", "ask", "llm"), "span"), said(end_payload("a"), "span"))
        spooler.append([batch(fid, said("one"), said("two"), *span)])
        spooler.append([batch(fid, said("one")._replace(**later))])  # no place for cursors yet
        migrate.upgrade(older, "kodosumi")
        again = said(begin_payload("b", "ask", "llm"), "span")._replace(**later)
        spooler.append([batch(fid, said("two")._replace(**later), again)])
        # As older code writes, which knows no legs.
        execute(
            older,
            "INSERT INTO kodosumi.span (execution_id, id, name, type, attempt, begin_seq) "
            f"SELECT id, 'c', 'ask', 'llm', 1, 99 FROM kodosumi.execution WHERE fid = '{fid}'",
        )
        spooler.append([batch(fid, entered("finished", "Completed", 1.8e9))])
    finally:
        spooler.close()
    with psycopg.connect(older) as connection:
        words = connection.execute(
            "SELECT payload, source->>'replayed' FROM kodosumi.event WHERE kind = 'stdout' "
            "ORDER BY seq"
        ).fetchall()
        spans = connection.execute(
            "SELECT id, leg, again FROM kodosumi.span ORDER BY id"
        ).fetchall()
        calls = connection.execute("SELECT model_calls FROM kodosumi.execution").fetchone()
    assert words == [("one", None), ("two", None), ("one", None), ("two", "true")]
    assert spans == [("a", 0, False), ("b", 1, True), ("c", 0, False)]
    assert calls == (3,)
