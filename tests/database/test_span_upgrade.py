"""Spans and prices of before the cache's writes had a price, and writers of that time."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.database import migrate
from kodosumi_prefect.spans.span import Usage
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.database.test_migrations import upgrade_to
from tests.spans.test_span_totals import began, ended, spans, totals
from tests.spooler.recording import batch, execute, fresh

TOKENS = Usage(input=1_000_000, output=0, cached=500_000)
PRICE = (
    "INSERT INTO kodosumi.model_price (provider, model, input, output, cached, looked_up_at) "
    "VALUES ('p', 'm-1', 2, 8, 1, now())"
)


@pytest.fixture
def older(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as it was before, which knows a price."""
    name = f"older_{fresh().replace('-', '')}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE template0")
    url = make_conninfo(postgres.url, dbname=name)
    upgrade_to(url, "0022")
    execute(url, PRICE)
    yield url
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def test_costs_of_before_stay_and_older_code_writes_and_prices_on(older: str) -> None:
    fid, writer = fresh(), fresh()
    spooler = Spooler(older, "kodosumi")
    written = TOKENS._replace(written=400_000)
    spooler.append([batch(fid, began("a"), ended("a", written), writer=writer)])
    assert totals(older, fid) == (1, 1_000_000, 1.5, 0), "what it cannot tell costs as any input"

    migrate.upgrade(older, "kodosumi")
    assert totals(older, fid) == (1, 1_000_000, 1.5, 0)
    with psycopg.connect(older) as connection:  # as processes ask that were not upgraded
        cost = connection.execute(
            "SELECT kodosumi.cost_of('p', 'm-1', 1000000, 0, 500000)::float8"
        ).fetchone()
        assert cost == (1.5,)
    spooler.append([batch(fid, began("b"), ended("b", TOKENS), writer=writer, number=2)])
    execute(older, "UPDATE kodosumi.model_price SET written = 3")
    spooler.append([batch(fid, began("c"), ended("c", written), writer=writer, number=3)])
    spooler.close()
    assert totals(older, fid) == (3, 3_000_000, 1.5 + 1.5 + 1.9, 0)
    assert spans(older, fid)["c"]["written_tokens"] == 400_000
