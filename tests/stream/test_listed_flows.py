"""The names of flows with executions that somebody may see."""

from itertools import product

import psycopg

from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.stream.reader import EVERYTHING, Reader, Visible
from tests.spooler.recording import execute

LONG = "long" * 75  # cut in the listing, as of longer owners
# By the function that says for every list who may see what; each execution's row is read.
BY_VISIBLE = b"""
SELECT DISTINCT l.flow_name FROM kodosumi.listing l
WHERE NOT l.archived AND l.flow_name IS NOT NULL
    AND kodosumi.visible(l.owner, left(%(owner)s, 200), %(unowned)s)
ORDER BY l.flow_name LIMIT %(limit)s
"""
# Some flows are of one owner only, some of nobody, some archived as a whole, some have no name.
MIXED = f"""
INSERT INTO kodosumi.execution (fid, owner, flow_name, archived_at)
SELECT gen_random_uuid(), (ARRAY['ann', 'bob', NULL, '{LONG}'])[1 + (i * i + i / 7) % 4],
    CASE WHEN i % 17 > 0 THEN 'flow' || i % 60 END,
    CASE WHEN i % 60 < 10 OR i % 11 = 0 THEN now() END
FROM generate_series(1, 400) AS i
"""
# Of most flows, neither nobody nor bob has any.
APART = """
INSERT INTO kodosumi.execution (fid, owner, flow_name)
SELECT gen_random_uuid(), CASE i % 20 WHEN 0 THEN NULL WHEN 1 THEN 'bob' ELSE 'user' || i END,
    'flow' || i % 20 FROM generate_series(1, 4000) AS i
"""
OWNERS = (None, "ann", "bob", "nobody", "", LONG)


async def test_flows_are_listed_of_executions_that_may_be_seen(database: str) -> None:
    execute(database, MIXED)
    with psycopg.connect(database) as connection:
        async with Reader(database, "kodosumi") as reader:
            for owner, unowned, limit in product(OWNERS, (True, False), (200, 7)):
                visible = Visible(owner, unowned)
                asked = visible._asdict() | {"limit": limit}
                rows = connection.execute(BY_VISIBLE, asked).fetchall()
                names = await reader.flow_names(visible, limit=limit)
                assert names == [name for (name,) in rows], visible
                assert bool(names) == (unowned or owner not in ("nobody", "")), visible


def test_flows_of_others_are_passed_over_without_reading_their_executions(database: str) -> None:
    execute(database, APART)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE kodosumi.listing")
        most = 2 * _blocks(connection, EVERYTHING)
        assert _blocks(connection, Visible("bob", True)) <= most
        assert _blocks(connection, Visible("bob", False)) <= most


def _blocks(connection: psycopg.Connection, viewer: Visible) -> int:
    """How many blocks of the database are read to list flows."""
    query = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + Queries("kodosumi")["listed_flows"]
    row = connection.execute(query, viewer._asdict() | {"limit": 200}).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
