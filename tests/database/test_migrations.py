"""The schema: brought up to date by anyone, once, and used with no more rights than needed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import psycopg
import pytest
from alembic import command
from psycopg.conninfo import make_conninfo

from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.migrate import SchemaTooOldError
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.spans.span import Usage
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.spans.test_span_totals import began, ended
from tests.spooler.recording import batch, entered, execute, fresh, row, said, stored

PASSWORD = "a password"


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database without our schema."""
    name = f"empty_{fresh().replace('-', '')}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield make_conninfo(postgres.url, dbname=name)
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def shape(url: str, schema: str) -> list[tuple[Any, ...]]:
    """Tables, columns, indexes and functions, without the schema's name."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, column_default, is_nullable"
            " FROM information_schema.columns WHERE table_schema = %s ORDER BY 1, 2",
            (schema,),
        ).fetchall()
        indexes = connection.execute(
            "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2",
            (schema,),
        ).fetchall()
    return [tuple(str(cell).replace(schema, "S") for cell in found) for found in columns + indexes]


def upgrade_in_a_process(url: str) -> str:
    return migrate.upgrade(url, "kodosumi")


def test_upgrading_twice_is_upgrading_once(empty: str) -> None:
    assert migrate.current(empty, "kodosumi") is None
    assert migrate.upgrade(empty, "kodosumi") == migrate.newest()
    first = shape(empty, "kodosumi")
    assert migrate.upgrade(empty, "kodosumi") == migrate.newest()
    assert shape(empty, "kodosumi") == first
    assert migrate.current(empty, "kodosumi") == migrate.newest()
    migrate.require(empty, "kodosumi")


def test_four_processes_may_upgrade_at_once(empty: str) -> None:
    with get_context("spawn").Pool(4) as pool:
        reached = pool.map(upgrade_in_a_process, [empty] * 4)
    assert reached == [migrate.newest()] * 4
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM kodosumi.instance").fetchone() == (1,)


def test_four_threads_may_upgrade_at_once(empty: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        reached = list(pool.map(upgrade_in_a_process, [empty] * 4))
    assert reached == [migrate.newest()] * 4


def test_a_missing_or_old_schema_is_refused_with_the_command_that_mends_it(empty: str) -> None:
    with pytest.raises(SchemaTooOldError, match=r"at revision none.*run `kodosumi-prefect db upg"):
        migrate.require(empty, "kodosumi")
    migrate.upgrade(empty, "kodosumi")
    execute(empty, "UPDATE kodosumi.schema_version SET version_num = '0000'")
    with pytest.raises(SchemaTooOldError) as caught:
        migrate.require(empty, "kodosumi")
    assert "at revision 0000" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert psycopg.conninfo.conninfo_to_dict(empty)["password"] not in str(caught.value)


def test_a_newer_schema_is_fine(empty: str) -> None:
    migrate.upgrade(empty, "kodosumi")
    execute(empty, "UPDATE kodosumi.schema_version SET version_num = '9999'")
    migrate.require(empty, "kodosumi")


def test_the_schemas_name_is_free_and_everything_lies_in_it(empty: str) -> None:
    migrate.upgrade(empty, "team_a")
    migrate.upgrade(empty, "team_b")
    assert shape(empty, "team_a") == shape(empty, "team_b")
    fid = fresh()
    spooler = Spooler(empty, "team_b")
    spooler.append([batch(fid, said("in b"))])
    spooler.close()
    assert [event["payload"] for event in stored(empty, fid, "team_b")] == ["in b"]
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM team_a.execution").fetchone() == (0,)
        strays = connection.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN"
            " ('information_schema', 'team_a', 'team_b')"
        ).fetchall()
    assert strays == []


def upgrade_to(url: str, revision: str) -> None:
    """Bring an empty database to an older revision."""
    with migrate._connection(url) as connection, connection.begin():
        connection.exec_driver_sql("CREATE SCHEMA kodosumi")
        config = migrate._config()
        config.attributes |= {"connection": connection, "schema": "kodosumi"}
        command.upgrade(config, revision)


def test_executions_from_before_the_listing_are_listed_and_found(empty: str) -> None:
    upgrade_to(empty, "0004")
    inputs = '{"dict": {"city": "Oslo"}}'
    execute(
        empty,
        "INSERT INTO kodosumi.execution (fid, flow_name, inputs, tags) VALUES "
        f"('{fresh()}', repeat('long', 5000), '{inputs}', '{{a,NULL}}'), "
        f"('{fresh()}', NULL, NULL, NULL)",
    )
    migrate.upgrade(empty, "kodosumi")
    with psycopg.connect(empty) as connection:
        found = connection.execute(
            "SELECT words @@ 'os:*'::tsquery, length(flow_name) FROM kodosumi.listing ORDER BY 1"
        ).fetchall()
    assert found == [(False, None), (True, 200)]


# As versions had it that came with revision 0008; they may still run after the upgrade.
COUNT_OF_0008 = """
SELECT count(*) FROM (
    SELECT FROM kodosumi.listing l
    WHERE NOT l.archived
        AND (%(owner)s::text IS NULL OR l.owner = left(%(owner)s, 200)
            OR (l.owner IS NULL AND %(unowned)s::boolean))
        AND (%(of)s::text IS NULL OR l.owner = left(%(of)s, 200))
        AND (%(status)s::text IS NULL OR l.status = %(status)s)
        AND (%(statuses)s::text[] IS NULL OR l.status = ANY(%(statuses)s::text[]))
        AND (%(flow)s::text IS NULL OR l.flow_name = left(%(flow)s, 200))
        AND (%(since)s::float8 IS NULL OR l.created_at >= to_timestamp(%(since)s))
        AND (%(until)s::float8 IS NULL OR l.created_at < to_timestamp(%(until)s))
        AND (%(search)s::tsquery IS NULL OR l.words @@ %(search)s::tsquery)
    LIMIT %(limit)s
) AS found
"""
UNFILTERED: dict[str, Any] = {
    "owner": None,
    "unowned": True,
    "of": None,
    "status": None,
    "statuses": None,
    "flow": None,
    "since": None,
    "until": None,
    "search": None,
    "limit": 1000,
}
FILTERS: list[tuple[dict[str, Any], int]] = [
    ({}, 120),
    ({"owner": "ann"}, 80),
    ({"owner": "ann", "unowned": False}, 40),
    ({"owner": "nobody", "unowned": False}, 0),
    ({"of": "bob"}, 40),
    ({"owner": "ann", "of": "bob"}, 0),
    ({"status": "error"}, 80),
    ({"statuses": ["error", "running"]}, 80),
    ({"flow": "f3"}, 40),
    ({"search": "'summary5':*", "of": "bob"}, 2),
    ({"since": 0.0, "until": 1.0}, 0),
    ({"since": 0.0, "until": 4e9}, 120),
]


def test_lists_are_filtered_as_before_revision_0009(empty: str) -> None:
    upgrade_to(empty, "0008")
    execute(
        empty,
        "INSERT INTO kodosumi.execution (fid, owner, flow_name, summary, status, archived_at) "
        "SELECT gen_random_uuid(), (ARRAY['ann', 'bob', NULL])[1 + i % 3], 'f' || i % 4, "
        "'summary' || i, (ARRAY['finished', 'error'])[1 + i % 2], "
        "CASE WHEN i % 4 = 0 THEN now() END FROM generate_series(1, 160) AS i",
    )
    migrate.upgrade(empty, "kodosumi")
    with psycopg.connect(empty) as connection:
        for conditions, number in FILTERS:
            asked = UNFILTERED | conditions
            older = connection.execute(COUNT_OF_0008, asked).fetchone()
            newer = connection.execute(Queries("kodosumi")["count_listed"], asked).fetchone()
            assert older == newer == (number,), conditions


def test_functions_that_filter_lists_become_part_of_the_plan(database: str) -> None:
    execute(
        database,
        "INSERT INTO kodosumi.execution (fid, owner) SELECT gen_random_uuid(), 'user' || i % 100 "
        "FROM generate_series(1, 3000) AS i; ANALYZE kodosumi.listing",
    )
    asked = UNFILTERED | {"owner": "user7", "unowned": False}
    with psycopg.connect(database, prepare_threshold=None) as connection:
        lines = connection.execute(
            b"EXPLAIN " + Queries("kodosumi")["count_listed"], asked
        ).fetchall()
    plan = "\n".join(line for (line,) in lines)
    assert "listing_owner" in plan
    assert "filtered_listing" not in plan and "visible" not in plan


def test_a_lone_database_user_without_rights_is_told_so(empty: str) -> None:
    role = f"guest_{fresh()[:8]}"
    execute(empty, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    try:
        with pytest.raises(Exception, match="permission denied"):
            migrate.upgrade(make_conninfo(empty, user=role, password=PASSWORD), "kodosumi")
        assert migrate.current(empty, "kodosumi") is None
    finally:
        execute(empty, f"DROP ROLE {role}")


@pytest.fixture(params=["grants, then upgrade as owner", "upgrade, then grants"])
def granted(request: pytest.FixtureRequest, empty: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A schema of its own with the roles that ``grants`` makes, and a URL for each role."""
    schema = f"s{fresh()[:8]}"
    urls = {
        role: make_conninfo(empty, user=f"{schema}_{role}", password=PASSWORD)
        for role in ("owner", "writer", "reader")
    }
    if request.param == "upgrade, then grants":
        migrate.upgrade(empty, schema)
    execute(empty, migrate.grants(schema))
    for role in urls:
        execute(empty, f"ALTER ROLE {schema}_{role} PASSWORD '{PASSWORD}'")
    if request.param != "upgrade, then grants":
        migrate.upgrade(urls["owner"], schema)
    yield schema, urls
    for role in urls:
        execute(empty, f"DROP OWNED BY {schema}_{role} CASCADE; DROP ROLE {schema}_{role}")


def test_a_writer_needs_no_right_to_create_tables_even_across_partitions(
    granted: tuple[str, dict[str, str]], empty: str
) -> None:
    schema, urls = granted
    first = fresh()
    spooler = Spooler(urls["writer"], schema)
    spooler.append([batch(first, said("in the first partition"))])
    # 995 further executions, as cheaply as can be, up to the partition's edge.
    execute(
        empty,
        f"INSERT INTO {schema}.execution (fid) SELECT gen_random_uuid() "
        f"FROM generate_series(1, 995)",
    )
    fids = [fresh() for _ in range(8)]
    for fid in fids:
        spooler.append([batch(fid, said(f"of {fid}"), entered("running", "Running", 1.0))])
    spooler.close()
    ids = [row(empty, fid, schema)["id"] for fid in fids]
    assert ids[0] < 1000 < ids[-1]
    for fid in fids:
        assert [event["seq"] for event in stored(urls["reader"], fid, schema)] == [1, 2]
    with psycopg.connect(empty) as connection:
        parts = connection.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = 'event' AND"
            " p.relkind = 'p' ORDER BY 1"
        ).fetchall()
    assert parts == [("event_0",), ("event_1",)]


def test_partitions_are_made_ahead_of_need(empty: str) -> None:
    migrate.upgrade(empty, "kodosumi")
    execute(empty, "ALTER TABLE kodosumi.execution ALTER COLUMN id RESTART WITH 600")
    spooler = Spooler(empty, "kodosumi")
    spooler.append([batch(fresh(), said("one"))])
    spooler.close()
    with psycopg.connect(empty) as connection:
        found = connection.execute("SELECT to_regclass('kodosumi.event_1') IS NOT NULL").fetchone()
    assert found == (True,)


def test_a_reader_may_look_and_not_touch(granted: tuple[str, dict[str, str]], empty: str) -> None:
    schema, urls = granted
    migrate.require(urls["reader"], schema)
    for query in (
        f"INSERT INTO {schema}.execution (fid) VALUES (gen_random_uuid())",
        f"UPDATE {schema}.instance SET oldest_writer = 9",
        f"DELETE FROM {schema}.event",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(urls["reader"], query)


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_whoever_may_read_may_list(
    granted: tuple[str, dict[str, str]], empty: str, role: str
) -> None:
    schema, urls = granted
    execute(
        empty,
        f"REVOKE EXECUTE ON FUNCTION {schema}.visible, {schema}.filtered_listing FROM PUBLIC",
    )
    with psycopg.connect(urls[role]) as connection:
        query = Queries(schema)["count_listed"]
        assert connection.execute(query, UNFILTERED | {"owner": "ann"}).fetchone() == (0,)


def test_a_reader_sees_who_there_is_but_no_hashes(granted: tuple[str, dict[str, str]]) -> None:
    schema, urls = granted
    execute(urls["reader"], f"SELECT id, name FROM {schema}.role")
    execute(urls["writer"], f"SELECT password FROM {schema}.role")
    for query in (
        f"SELECT password FROM {schema}.role",
        f"SELECT hash FROM {schema}.api_key",
        f"SELECT key FROM {schema}.login_failure",
        f"SELECT secrets FROM {schema}.payload",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(urls["reader"], query)


def test_a_writer_may_not_create_tables(granted: tuple[str, dict[str, str]]) -> None:
    schema, urls = granted
    migrate.require(urls["writer"], schema)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(urls["writer"], f"CREATE TABLE {schema}.mine (id int)")


def test_a_schema_may_be_named_like_a_reserved_word(database: str):
    migrate.upgrade(database, "order")
    Spooler(database, "order").append([batch(fresh(), said("one"))])
    with psycopg.connect(database) as connection:
        assert connection.execute('SELECT count(*) FROM "order".event').fetchone() == (1,)


def test_a_writer_spends_within_budgets_that_it_knows_nothing_of(
    granted: tuple[str, dict[str, str]], empty: str
) -> None:
    """Prices and budgets are weighed in the database: whoever stores spans need not know them."""
    schema, urls = granted
    execute(empty, f"INSERT INTO {schema}.budget (per, tokens) VALUES ('run', 100)")
    execute(
        empty,
        f"INSERT INTO {schema}.model_price (provider, model, input, output, looked_up_at)"
        " VALUES ('p', 'm-1', 10000, 0, now())",
    )
    execute(empty, f"REVOKE ALL ON {schema}.model_price, {schema}.spending FROM {schema}_writer")
    fid = fresh()
    spooler = Spooler(urls["writer"], schema)
    spooler.append([batch(fid, began("a"), ended("a", Usage(input=90, output=9)))])
    assert float(row(empty, fid, schema)["cost"]) == 0.9
    assert spooler.standings([fid])[fid] == ("near", "run", "tokens", 99.0, 100.0)
    spooler.close()


def test_spans_are_stored_in_a_schema_without_prices_and_budgets(empty: str) -> None:
    upgrade_to(empty, "0019")
    fid = fresh()
    spooler = Spooler(empty, "kodosumi")
    spooler.append([batch(fid, began("a"), ended("a", Usage(input=90, output=9)))])
    assert row(empty, fid)["input_tokens"] == 90
    assert spooler.standings([fid]) == {}
    spooler.close()
    migrate.upgrade(empty, "kodosumi")
    with psycopg.connect(empty) as connection:
        found = connection.execute("SELECT cost, priced FROM kodosumi.span").fetchone()
    assert found == (None, False)


def test_a_run_of_before_the_outbox_is_told_of_by_a_writer_that_knows_nothing_of_it(
    granted: tuple[str, dict[str, str]], empty: str
) -> None:
    """The database tells by itself: older writers have no rights on its tables, and need none."""
    schema, urls = granted
    tables = ("outbox", "outbox_rules", "webhook", "webhook_delivery", "silence")
    named = ", ".join(f"{schema}.{table}" for table in tables)
    execute(
        empty,
        f"UPDATE {schema}.outbox_rules SET prefect_events = true;"
        f" REVOKE ALL ON {named} FROM {schema}_writer",
    )
    fid = fresh()
    spooler = Spooler(urls["writer"], schema)
    spooler.append([batch(fid, entered("running", "Running", 1.0))])
    spooler.append([batch(fid, entered("finished", "Completed", 2.0))])
    spooler.close()
    with psycopg.connect(empty) as connection:
        found = connection.execute(f"SELECT kind FROM {schema}.outbox").fetchall()
    assert found == [("execution.finished",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(urls["reader"], f"SELECT secret FROM {schema}.webhook")


def test_executions_from_before_the_outbox_are_kept_and_not_told(empty: str) -> None:
    upgrade_to(empty, "0022")
    over, open_ = fresh(), fresh()
    spooler = Spooler(empty, "kodosumi")
    spooler.append([batch(over, entered("finished", "Completed", 1.0))])
    spooler.append([batch(open_, entered("running", "Running", 1.0))])
    execute(
        empty,
        "INSERT INTO kodosumi.lock (execution_id, lid, name, attempt, opened_at, expires_at)"
        f" SELECT id, 'l', 'l', 1, now(), now() FROM kodosumi.execution WHERE fid = '{open_}'",
    )
    migrate.upgrade(empty, "kodosumi")
    execute(empty, "UPDATE kodosumi.outbox_rules SET prefect_events = true")
    assert row(empty, over)["status"] == "finished"
    spooler.append([batch(open_, entered("finished", "Completed", 2.0))])
    spooler.close()
    with psycopg.connect(empty) as connection:
        found = connection.execute(
            "SELECT o.kind, e.fid::text FROM kodosumi.outbox o"
            " JOIN kodosumi.execution e ON e.id = o.execution_id"
        ).fetchall()
    assert found == [("execution.finished", open_)]
