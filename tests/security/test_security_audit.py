"""The audit: nobody takes anything out of it, it holds no secret, and only operators read it."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.panel.audit.entry import LONGEST, LONGEST_AGENT, Actor, Entry, Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.trail import FAILED_SIGN_INS, Trail, failed_sign_in, write
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from tests.audit_entries import TABLE, entries, entry
from tests.panel.panel_runs import Stand, fetch, serving
from tests.spooler.recording import execute, fresh

PASSWORD = "correct horse battery"
INSERT = "INSERT INTO {schema}.audit (action, outcome) VALUES ('launch', 'ok')"
ATTEMPTS = (
    "UPDATE {schema}.audit SET actor_name = 'somebody else'",
    "DELETE FROM {schema}.audit",
    "TRUNCATE {schema}.audit",
    "INSERT INTO {schema}.audit (id, action, outcome) OVERRIDING SYSTEM VALUE VALUES"
    " (1, 'launch', 'ok') ON CONFLICT (id) DO UPDATE SET action = 'cancel'",
    "SET kodosumi.forgets_audit = 'on'; UPDATE {schema}.audit SET action = 'x'",
    "SET kodosumi.forgets_audit = 'on'; TRUNCATE {schema}.audit",
    "SELECT {schema}.forget_audit(0, 1000)",
    "SELECT {schema}.forget_audit(NULL, 1000)",
    "SELECT {schema}.forget_audit('NaN', 1000)",
    "SELECT {schema}.forget_audit(-1, 1000)",
)


@pytest.fixture(scope="module")
def panel(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A panel for all tests of this module that need one."""
    execute(postgres.url, "CREATE DATABASE of_audit_attacks TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname="of_audit_attacks"))
    with serving(Settings(database_url=url, data_dir=tmp_path_factory.mktemp("audit"))) as stand:
        yield stand


def rows(url: str, schema: str = "kodosumi") -> list[dict[str, Any]]:
    return fetch(url, f"SELECT * FROM {schema}.audit")


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_not_even_the_owner_changes_or_deletes_by_mistake(database: str, attempt: str) -> None:
    execute(database, INSERT.format(schema="kodosumi"))
    before = rows(database)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database, attempt.format(schema="kodosumi"))
    assert rows(database) == before


def test_nobody_says_when_it_was(database: str) -> None:
    execute(
        database,
        "INSERT INTO kodosumi.audit (at, action, outcome) VALUES ('2001-01-01', 'launch', 'ok')",
    )
    assert fetch(database, "SELECT at > now() - interval '1 hour' AS new FROM kodosumi.audit") == [
        {"new": True}
    ]


@pytest.fixture(params=["grants, then upgrade as owner", "upgrade, then grants"])
def granted(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres
) -> Iterator[tuple[str, dict[str, str]]]:
    """A schema with the roles that `db grants` makes, and a URL for each."""
    name = f"audit_{fresh().replace('-', '')}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE template0")
    admin, schema = make_conninfo(postgres.url, dbname=name), f"s{fresh()[:8]}"
    urls = {
        role: make_conninfo(admin, user=f"{schema}_{role}", password=PASSWORD)
        for role in ("owner", "writer", "reader")
    }
    if request.param == "upgrade, then grants":
        migrate.upgrade(admin, schema)
    execute(admin, migrate.grants(schema))
    for role in urls:
        execute(admin, f"ALTER ROLE {schema}_{role} PASSWORD '{PASSWORD}'")
    if request.param != "upgrade, then grants":
        migrate.upgrade(urls["owner"], schema)
    yield schema, urls | {"admin": admin}
    for role in urls:
        if role != "admin":
            execute(admin, f"DROP OWNED BY {schema}_{role} CASCADE; DROP ROLE {schema}_{role}")
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def test_whoever_has_the_panels_role_adds_and_reads_and_no_more(
    granted: tuple[str, dict[str, str]],
) -> None:
    schema, urls = granted
    execute(urls["writer"], INSERT.format(schema=schema))
    before = rows(urls["writer"], schema)
    assert len(before) == 1
    more = (
        "SET kodosumi.forgets_audit = 'on'; DELETE FROM {schema}.audit",
        "ALTER TABLE {schema}.audit DISABLE TRIGGER ALL",
        "SET session_replication_role = replica; DELETE FROM {schema}.audit",
        "DROP TABLE {schema}.audit",
        "CREATE OR REPLACE FUNCTION {schema}.keep_audit() RETURNS trigger"
        " LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    )
    for attempt in ATTEMPTS + more:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(urls["writer"], attempt.format(schema=schema))
    for query in ("SELECT FROM {schema}.audit", "SELECT {schema}.forget_audit(1e9, 1)", INSERT):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(urls["reader"], query.format(schema=schema))
    assert rows(urls["admin"], schema) == before


def test_retention_needs_no_more_rights_than_the_panels_role_has(
    granted: tuple[str, dict[str, str]],
) -> None:
    schema, urls = granted
    with psycopg.connect(urls["admin"]) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            f"INSERT INTO {schema}.audit (at, action, outcome)"
            " SELECT now() - interval '8 days', 'launch', 'ok' FROM generate_series(1, 5)"
        )
    execute(urls["writer"], INSERT.format(schema=schema))
    with Retention(urls["writer"], schema) as retention:
        assert list(retention.audit(7)) == [5]
    assert len(rows(urls["admin"], schema)) == 1


def test_an_older_panel_and_flows_go_on_with_the_table_there(
    granted: tuple[str, dict[str, str]],
) -> None:
    schema, urls = granted
    execute(urls["writer"], f"INSERT INTO {schema}.role (name) VALUES ('mira')")
    execute(urls["writer"], f"INSERT INTO {schema}.execution (fid) VALUES (gen_random_uuid())")
    execute(urls["writer"], f"DELETE FROM {schema}.role")


SECRETS = {
    "first": "a first password",
    "second": "another password of hers",
    "lock": "typed into a form",
    "query": "token-in-an-address",
    "basic": "password-in-an-address",
}


def test_no_secret_is_in_it(settings: Settings) -> None:
    own = settings.model_copy(update={"admin_password": SecretStr(PASSWORD)})
    with serving(own) as stand:
        made = stand.client.post(
            "/role", json={"name": "mira", "password": SECRETS["first"], "email": None}
        )
        id_ = made.json()["id"]
        login = {"name": "mira", "password": SECRETS["first"]}
        token = stand.connect().post("/api/login", json=login).json()["KODOSUMI_API_KEY"]
        mira = stand.connect(token)
        key = mira.post("/keys", json={"name": "laptop"}).json()["key"]
        change = {"old": SECRETS["first"], "new": SECRETS["second"]}
        assert mira.post("/account/password", data=change).status_code == 200
        stand.client.put(f"/role/{id_}", json={"password": SECRETS["first"]})
        stand.client.post(f"/users/{id_}/password", data={"password": SECRETS["second"]})
        stand.connect(key).post(f"/lock/{uuid4()}/one", json={"password": SECRETS["lock"]})
        url = f"http://me:{SECRETS['basic']}@127.0.0.1:9/openapi.json?key={SECRETS['query']}"
        stand.client.post("/flow/register", json={"url": url})
        stand.client.post("/system/sources/remove", data={"url": url})
        for name in (SECRETS["first"], f"{SECRETS['second']}\x00"):
            stand.connect().post("/login", data={"name": name, "password": "wrong"})
    text = str(entries(stand))
    assert text.count("'action'") >= 11
    hidden = [*SECRETS.values(), PASSWORD, token, key, "wrong"]
    assert [secret for secret in hidden if secret in text] == []
    assert key[:11] not in text


def test_only_operators_read_it(panel: Stand) -> None:
    mira = panel.person(f"mira-{uuid4()}")
    key = mira.client.post("/keys", json={"name": "k"}).json()["key"]
    for path in ("/audit", "/audit.csv", "/audit.jsonl", "/audit?actor=admin"):
        for client in (mira.client, panel.connect(key)):
            for accept in ("text/html", "application/json"):
                answer = client.get(path, headers={"Accept": accept})
                assert answer.status_code == 403, path
                assert "admin" not in answer.text.replace("KODOSUMI", "")
        assert panel.connect().get(path).status_code == 401
    assert panel.client.post("/audit", json={}).status_code == 405
    assert panel.client.delete("/audit").status_code == 405


HOSTILE = ("=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "a,b", 'a"b', "a\r\nb")


async def test_no_cell_of_the_export_is_a_formula(panel: Stand) -> None:
    mark = str(uuid4())
    async with Reader(panel.database, "kodosumi", 1) as reader:
        hostile = [
            Entry(Action.LAUNCH, Target("x", mark, name), actor=Actor(None, name), user_agent=name)
            for name in HOSTILE
        ]
        assert await write(reader, hostile) == 0
    answer = panel.get("/audit.csv", params={"target": mark})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    table = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(table) == len(HOSTILE)
    cells = [cell for row in table for cell in row.values()]
    assert [c for c in cells if c.strip().startswith(("=", "+", "-", "@"))] == []
    assert {row["target_name"] for row in table} >= {"a,b", 'a"b', "a\r\nb", "'=HYPERLINK(1)"}
    page = panel.get("/audit", params={"target": mark}, headers={"Accept": "text/html"}).text
    assert "<script" not in page.partition("<main")[2]


async def test_what_people_send_is_cleaned_and_cut(panel: Stand) -> None:
    mark, long = str(uuid4()), "\x00\ud800é" * 5000
    async with Reader(panel.database, "kodosumi", 1) as reader:
        odd = Entry(
            Action.LAUNCH,
            Target(mark, long, long),
            actor=Actor(long, long),
            address=long,
            user_agent=long,
            details={"x": long, long: 1},
        )
        assert await write(reader, [odd]) == 0
    row = entry(panel, target_kind=mark)
    assert len(row["target_id"]) == len(row["actor_name"]) == LONGEST
    assert len(row["user_agent"]) == LONGEST_AGENT
    assert row["details"] == {"cut": True}


async def test_guesses_from_everywhere_do_not_fill_it(database: str) -> None:
    accounts = {f"name {n}": Actor(str(uuid4()), f"name {n}") for n in range(50)}

    async def known(name: str) -> Actor | None:
        return accounts.get(name)

    async with Reader(database, "kodosumi", 1) as reader:
        async with Trail(reader, known) as trail:
            for n in range(3000):
                where = {"address": f"198.51.{n // 256}.{n % 256}", "user_agent": "guess"}
                trail.sign_in_failed(f"name {n % 100}", failed_sign_in(**where))
        assert trail.lost == 0
    found = fetch(database, TABLE)
    assert len(found) <= FAILED_SIGN_INS + 1
    assert sum(row["details"].get("times", 1) for row in found) == 3000
    assert "name 77" not in json.dumps([row["actor_name"] for row in found])
