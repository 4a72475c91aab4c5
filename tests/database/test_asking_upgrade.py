"""Locks of before the upgrade, and of writers of older code after it."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from kodosumi_prefect.database import migrate
from kodosumi_prefect.events import Kind, Status, serialize
from kodosumi_prefect.locks import following
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from tests.database.test_migrations import upgrade_to
from tests.spooler.recording import batch, entered, execute, fresh, said

OWNER = "11111111-1111-1111-1111-111111111111"
# As writers of before have it.
OLDER = (
    "INSERT INTO kodosumi.lock (execution_id, lid, name, attempt, data, elements, state, opened_at,"
    " expires_at, title, question) SELECT id, %s, 'approve', 1, NULL, NULL, 'open', now(),"
    " now() + interval '1 hour', NULL, NULL FROM kodosumi.execution"
)


@pytest.fixture
def older(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database as it was before questions were put to particular people."""
    name = f"older_{fresh().replace('-', '')}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE template0")
    url = make_conninfo(postgres.url, dbname=name)
    upgrade_to(url, "0023")
    yield url
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def locks(url: str) -> dict[str, dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        found = connection.execute("SELECT * FROM kodosumi.lock").fetchall()
    return {each["lid"]: each for each in found}


async def test_locks_of_before_and_of_older_writers_are_answered_as_they_were(older: str) -> None:
    fid = fresh()
    spooler = Spooler(older, "kodosumi")
    try:
        running = entered(Status.RUNNING, "Running", time.time(), 1)
        told = {"name": "approve", "data": None, "expires": time.time() + 3600}
        more = {"ask": ["ann"], "quorum": 2, "remind": [60.0]}  # newer code, older schema
        new = said(serialize(told | more | {"lid": "newer writer"}), Kind.LOCK, attempt=1)
        spooler.append([batch(fid, running, new, header={"owner": OWNER})])
        with psycopg.connect(older) as connection:
            connection.execute(OLDER, ("before",))
        assert set(locks(older)) == {"newer writer", "before"}
        migrate.upgrade(older, "kodosumi")
        with psycopg.connect(older) as connection:
            connection.execute(OLDER, ("older writer",))
        for lock in locks(older).values():
            assert (lock["asked"], lock["quorum"], lock["link"]) == (None, 1, False)
            assert lock["deadline"] is not None
    finally:
        spooler.close()
    async with Reader(older, "kodosumi", 2) as reader:
        desk = Locks(reader)
        assert len(await desk.open(account=OWNER)) == 3
        assert await desk.open(account=fresh()) == []
        assert await following.due(reader, 10) == []
        for lid in locks(older):
            given = await desk.answer(fid, lid, 1, by=OWNER, asked_only=True)
            assert given.complete
    assert {lock["state"] for lock in locks(older).values()} == {"leased"}
