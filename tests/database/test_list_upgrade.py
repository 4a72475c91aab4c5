"""What the panel's list is sorted by: of executions of before, and by writers of older code."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.database.test_migrations import upgrade_to
from tests.spooler.recording import batch, entered, execute, fresh, row, said

UNFILTERED: dict[str, Any] = {
    **dict.fromkeys(("owner", "of", "looks", "flow", "deployment", "since", "until", "search")),
    "unowned": True,
    "cursor": None,
    "most": 100_000,
    "limit": 100,
    "sort": "name",
    "way": 1,
}


@pytest.fixture
def older(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as it was before the list had an order of its own."""
    name = f"older_{fresh().replace('-', '')}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE template0")
    url = make_conninfo(postgres.url, dbname=name)
    upgrade_to(url, "0013")
    yield url
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def ordered(url: str, fid: str) -> dict[str, Any]:
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        found = connection.execute(
            "SELECT l.* FROM kodosumi.listing_order l JOIN kodosumi.execution e "
            "ON e.id = l.execution_id WHERE e.fid = %s",
            (fid,),
        ).fetchone()
    assert found is not None
    return found


def test_executions_of_before_are_in_the_list_as_they_were(older: str) -> None:
    fids = [fresh() for _ in range(3)]
    execute(
        older,
        "INSERT INTO kodosumi.execution (fid, flow_name, summary, status, state_type, started_at, "
        "ended_at, archived_at) VALUES "
        f"('{fids[0]}', 'digest', 'Of MAY', 'error', 'CANCELLED', '2026-01-01', "
        "'2026-01-01 00:01', NULL), "
        f"('{fids[1]}', NULL, NULL, 'running', 'RUNNING', '2026-01-02', NULL, NULL), "
        f"('{fids[2]}', 'digest', NULL, 'finished', NULL, NULL, NULL, now())",
    )
    migrate.upgrade(older, "kodosumi")
    cancelled, running, archived = (ordered(older, fid) for fid in fids)
    assert (cancelled["status"], cancelled["seconds"], cancelled["title"]) == (
        "cancelled",
        60.0,
        "of may",
    )
    assert (running["seconds"], running["started"], running["title"]) == (None, True, fids[1])
    assert archived["archived"] and not archived["started"]
    with psycopg.connect(older) as connection:
        names = connection.execute(Queries("kodosumi")["list_from_a"], UNFILTERED).fetchall()
    assert {name[0] for name in names} == set(fids[:2])


def test_a_writer_writes_on_before_the_upgrade_and_its_runs_move_on_after_it(older: str) -> None:
    fid = fresh()
    spooler = Spooler(older, "kodosumi")
    try:
        first = batch(fid, said("a"), header={"flow_name": "f", "run_name": "amber-fox"})
        spooler.append([first])  # the database has no place for the run's name yet
        migrate.upgrade(older, "kodosumi")
        events = (said("{}", "meta"), entered("running", "Running", 1.8e9))
        again = batch(fid, *events, header={"run_name": "amber-fox"})
        spooler.append([again])
    finally:
        spooler.close()
    assert row(older, fid)["run_name"] == "amber-fox"
    assert ordered(older, fid)["status"] == "running"
    # As older code updates it, which knows no newer column.
    execute(
        older,
        "UPDATE kodosumi.execution SET status = 'error', state_type = 'CANCELLED', "
        f"ended_at = started_at + interval '2 s' WHERE fid = '{fid}'",
    )
    assert (ordered(older, fid)["status"], ordered(older, fid)["seconds"]) == ("cancelled", 2.0)
    execute(older, f"DELETE FROM kodosumi.execution WHERE fid = '{fid}'")
    with psycopg.connect(older) as connection:
        assert connection.execute("SELECT count(*) FROM kodosumi.listing_order").fetchone() == (0,)
