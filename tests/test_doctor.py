"""doctor: finds what is wrong, says what to do, changes nothing."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.cli.doctor import check_spill, examine, prefect_server, ray_cluster
from kodosumi_prefect.cli.doctor.finding import Finding, Verdict, ok, skew
from kodosumi_prefect.cli.doctor.outbox import check_outbox
from kodosumi_prefect.cli.doctor.postgres import check_postgres
from kodosumi_prefect.cli.doctor.prefect_server import check_prefect
from kodosumi_prefect.cli.doctor.ray_cluster import check_ray
from kodosumi_prefect.database import migrate
from kodosumi_prefect.settings import PREFIX, VERSION, Settings, write_address
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.services import Place, record_prefect
from tests.spooler.recording import execute, fresh

PASSWORD = "a-password"


def of(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def at(settings: Settings, url: str, **more: object) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url), **more})


def test_a_database_in_order_is_ok_throughout(settings: Settings) -> None:
    found = check_postgres(settings)
    names = [finding.check for finding in found]
    assert names == ["database", "schema", "protocol", "grants", "notify", "clock"]
    assert {finding.verdict for finding in found} == {Verdict.OK}, found


def test_no_database_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (found,) = check_postgres(Settings(data_dir=tmp_path))
    assert found.verdict is Verdict.FAIL
    assert "up" in found.remedy


def test_a_database_that_refuses_is_named_without_its_password(settings: Settings) -> None:
    url = f"postgresql://somebody:{PASSWORD}@127.0.0.1:1/nothing"
    (found,) = check_postgres(at(settings, url))
    assert found.verdict is Verdict.FAIL
    assert "127.0.0.1:1/nothing" in found.text
    assert PASSWORD not in found.text + found.remedy
    assert "\n" not in found.text


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database without our schema."""
    name = f"doctor_{fresh().replace('-', '')}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield make_conninfo(postgres.url, dbname=name)
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def test_what_is_told_late_or_not_at_all_is_a_warning(
    settings: Settings, database: str, empty: str
) -> None:
    assert check_outbox(settings) == ok("outbox", "nothing waits to be told")
    assert check_outbox(at(settings, empty)).text == "the database has none yet"
    execute(database, "UPDATE kodosumi.outbox_rules SET prefect_events = true")
    execute(
        database,
        "INSERT INTO kodosumi.outbox (uid, kind, for_prefect, occurred_at)"
        " VALUES (gen_random_uuid(), 'execution.silent', true, now() - interval '10 s')",
    )
    assert check_outbox(settings).text == "waiting: 1 for Prefect, the oldest for 10 s"
    execute(database, "UPDATE kodosumi.outbox SET occurred_at = now() - interval '20 min'")
    late = check_outbox(settings)
    assert late.verdict is Verdict.WARN
    assert (late.text, "observer" in late.remedy) == (
        "waiting: 1 for Prefect, the oldest for 20 minutes",
        True,
    )
    execute(
        database,
        "WITH role AS (INSERT INTO kodosumi.role (name, email) VALUES ('ann', '') RETURNING id),"
        " hook AS (INSERT INTO kodosumi.webhook (role_id, name, url, kinds, secret)"
        "  SELECT id, 'a', 'https://example.org', '{}', '' FROM role RETURNING id)"
        " INSERT INTO kodosumi.webhook_delivery (outbox_id, webhook_id, state)"
        " SELECT o.id, hook.id, 'set_aside' FROM kodosumi.outbox o, hook",
    )
    execute(database, "UPDATE kodosumi.outbox SET emitted_at = now()")
    aside = check_outbox(settings)
    assert aside.verdict is Verdict.WARN
    assert aside.text.startswith("1 deliveries to webhooks failed")
    assert "send-again" in aside.remedy


def test_a_missing_schema_fails_and_is_not_made(settings: Settings, empty: str) -> None:
    found = of(check_postgres(at(settings, empty)), "schema")
    assert found.verdict is Verdict.FAIL
    assert "db upgrade" in found.remedy
    assert migrate.current(empty, "kodosumi") is None


def test_a_database_that_wants_newer_writers_fails(settings: Settings, database: str) -> None:
    execute(database, "UPDATE kodosumi.instance SET oldest_writer = 9")
    found = of(check_postgres(settings), "protocol")
    assert found.verdict is Verdict.FAIL
    assert "upgrade kodosumi-prefect" in found.remedy


@pytest.fixture
def roles(empty: str) -> Iterator[dict[str, str]]:
    """URLs of the roles that `db grants` makes, in a schema of their own."""
    schema = f"s{fresh()[:8]}"
    migrate.upgrade(empty, schema)
    execute(empty, migrate.grants(schema))
    names = ("owner", "writer", "reader")
    for role in names:
        execute(empty, f"ALTER ROLE {schema}_{role} PASSWORD '{PASSWORD}'")
    urls = {
        role: make_conninfo(empty, user=f"{schema}_{role}", password=PASSWORD) for role in names
    }
    yield urls | {"schema": schema, "admin": empty}
    for role in names:
        execute(empty, f"DROP OWNED BY {schema}_{role} CASCADE; DROP ROLE {schema}_{role}")


def test_a_role_that_lacks_rights_is_told_which(settings: Settings, roles: dict[str, str]) -> None:
    schema = roles["schema"]

    def grants(role: str) -> Finding:
        given = at(settings, roles[role], database_schema=schema)
        return of(check_postgres(given), "grants")

    assert grants("writer").verdict is Verdict.OK
    reader = grants("reader")
    assert reader.verdict is Verdict.FAIL
    assert "INSERT on event" in reader.text
    assert "UPDATE on execution" in reader.text
    assert "SELECT" not in reader.text
    execute(roles["admin"], f"REVOKE DELETE ON {schema}.event FROM {schema}_writer")
    writer = grants("writer")
    assert writer.verdict is Verdict.WARN
    assert "DELETE on event" in writer.text
    execute(
        roles["admin"],
        f"REVOKE EXECUTE ON FUNCTION {schema}.ensure_partition FROM PUBLIC, {schema}_writer",
    )
    assert "EXECUTE on ensure_partition(bigint)" in grants("writer").text


def test_notifications_that_do_not_arrive_are_noticed(settings: Settings, empty: str) -> None:
    apart = settings.model_copy(update={"database_listen_url": SecretStr(empty)})
    found = of(check_postgres(apart), "notify")
    assert found.verdict is Verdict.WARN
    assert "database_listen_url" in found.remedy


def test_events_that_wait_are_told(settings: Settings) -> None:
    assert check_spill(settings).verdict is Verdict.OK
    where = spill.folder(settings)
    where.mkdir(parents=True)
    (where / f"one{spill.SUFFIX}").write_bytes(b"x" * 2_000_000)
    found = check_spill(settings)
    assert found.verdict is Verdict.WARN
    assert "1 files of 2.0 MB" in found.text
    assert "spool replay" in found.remedy


def test_a_clock_that_is_off_says_by_how_much() -> None:
    assert skew("clock", 0.5, "Postgres", 2.0).verdict is Verdict.OK
    ahead, behind = skew("clock", 61.0, "Postgres", 2.0), skew("clock", -61.0, "Postgres", 2.0)
    assert (ahead.verdict, behind.verdict) == (Verdict.WARN, Verdict.WARN)
    assert "61.0 s ahead of Postgres" in ahead.text
    assert "61.0 s behind Postgres" in behind.text


@pytest.mark.usefixtures("no_pools")
async def test_a_prefect_in_order_is_ok_and_a_missing_work_pool_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_server, "PREFECT_ANSWER_SECONDS", 60)
    found = await check_prefect(place.settings)
    assert [finding.check for finding in found] == ["prefect", "work pools", "events", "clock"]
    for check in ("prefect", "events", "clock"):
        assert of(found, check).verdict is Verdict.OK, found
    assert of(found, "work pools").verdict is Verdict.WARN
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name="doctors", type="process"))
        try:
            pools = of(await check_prefect(place.settings), "work pools")
        finally:
            await client.delete_work_pool("doctors")
    assert "doctors (process): no worker is online" in pools.text
    assert "prefect worker start --pool doctors" in pools.remedy


@pytest.fixture
def answering() -> Iterator[tuple[str, list[int]]]:
    """A server that answers every request with the status in the list."""
    codes = [401]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(codes[0])
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api", codes
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_prefect_that_refuses_fails_with_the_remedy(
    settings: Settings, answering: tuple[str, list[int]]
) -> None:
    url, codes = answering
    with temporary_settings({PREFECT_API_URL: url}):
        (found,) = await check_prefect(settings)
        assert found.verdict is Verdict.FAIL
        assert "PREFECT_API_AUTH_STRING" in found.remedy
        codes[0] = 404
        (found,) = await check_prefect(settings)
        assert "is not Prefect's API" in found.text
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        (found,) = await check_prefect(settings)
        assert found.verdict is Verdict.FAIL
        assert "PREFECT_API_URL" in found.remedy
    with temporary_settings({PREFECT_API_URL: None}):
        (found,) = await check_prefect(settings)
        assert found.verdict is Verdict.FAIL
        assert "kodosumi-prefect up" in found.remedy


def test_a_ray_that_is_away_or_refuses_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answering: tuple[str, list[int]]
) -> None:
    assert check_ray(settings)[0].verdict is Verdict.OK
    (found,) = check_ray(settings.model_copy(update={"ray_address": "127.0.0.1:1"}))
    assert found.verdict is Verdict.FAIL
    assert "127.0.0.1:1 does not answer" in found.text
    open_port = answering[0].removeprefix("http://").removesuffix("/api")
    given = settings.model_copy(update={"ray_address": open_port})
    refusal = "Version mismatch: The cluster was started with: Ray: 1.0 Python: 3.8"
    monkeypatch.setattr(ray_cluster, "JOIN", f"""print('{{"error": "{refusal}"}}')""")
    (found,) = check_ray(given)
    assert found.verdict is Verdict.FAIL
    assert refusal in found.text
    assert "minor version of its Python" in found.remedy
    stillborn = "Initialization failure from server: Starting Ray client server failed."
    monkeypatch.setattr(ray_cluster, "JOIN", f"""print('{{"error": "{stillborn}"}}')""")
    (found,) = check_ray(given)
    assert found.verdict is Verdict.WARN
    assert "ended at once" in found.text
    assert found.remedy.startswith("try again")
    monkeypatch.setattr(ray_cluster, "JOIN", "import time; time.sleep(60)")
    monkeypatch.setattr(ray_cluster, "RAY_JOIN_SECONDS", 0.5)
    assert "no answer within 0.5 s" in check_ray(given)[0].text


async def test_a_whole_stack_in_order_fails_nowhere(ray_place: Place) -> None:
    settings = at(ray_place.settings, ray_place.database)
    found = await examine(settings)
    assert not [finding for finding in found if finding.verdict is Verdict.FAIL], found
    ray = of(found, "ray")
    assert "1 nodes" in ray.text
    assert "Python 3" in ray.text
    spooler = of(found, "spooler")
    assert spooler.verdict is Verdict.WARN
    assert "kodosumi-prefect spool start" in spooler.remedy


def test_a_spooler_is_told_with_what_is_wrong_with_it() -> None:
    about = {"version": VERSION, "protocol": 1, "host": "h", "clients": 2, "connections": 3}
    about |= {"spilled_bytes": 0}
    good = ray_cluster._spooler(about)
    assert good.verdict is Verdict.OK
    assert "2 clients, 3 connections" in good.text
    older = ray_cluster._spooler(about | {"version": "0.0.1"})
    assert older.verdict is Verdict.WARN
    assert f"version 0.0.1, protocol 1 on h: 2 clients, 3 connections; {VERSION} here" in older.text
    silent = ray_cluster._spooler({"error": "Get timed out"})
    assert silent.verdict is Verdict.FAIL
    assert "Get timed out" in silent.text


def doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kodosumi_prefect.cli", "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.usefixtures("no_pools")
def test_the_command_prints_a_line_each_and_its_exit_code_tells(place: Place, empty: str) -> None:
    good = place.environment(**{f"{PREFIX}DATABASE_URL": place.database, "PYTHONPATH": sys.path[0]})
    record_prefect(place.settings, place.api_url)
    try:
        done = doctor(**good)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("ok   database   Postgres ")
        assert "warn work pools none exists" in done.stdout
        done = doctor(**good | {f"{PREFIX}DATABASE_URL": empty})
        assert done.returncode == 1
        assert "FAIL schema " in done.stdout
        assert "→ run `kodosumi-prefect db upgrade`" in done.stdout
        password = psycopg.conninfo.conninfo_to_dict(empty)["password"]
        assert str(password) not in done.stdout + done.stderr
    finally:
        write_address(place.settings, "prefect", None)
