"""Whoever guesses passwords is one, however many addresses and spellings they use."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.cli.doctor.finding import Finding, Verdict
from kodosumi_prefect.cli.doctor.sign_in import check_sign_in
from kodosumi_prefect.panel.accounts import attempts
from kodosumi_prefect.panel.accounts.attempts import Attempts, TooManyAttemptsError
from kodosumi_prefect.panel.web.networks import source_of
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from tests.panel.panel_runs import DEADLINE, Stand, fetch, serving
from tests.spooler.recording import execute

PASSWORD = "long enough to guess"
FAILURES = "SELECT key, failures FROM kodosumi.login_failure"


@pytest.fixture(scope="module")
def proxied(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A panel behind a reverse proxy that says who is signed in."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_proxied TEMPLATE template_kodosumi")
    settings = Settings(
        database_url=SecretStr(make_conninfo(postgres.url, dbname="of_proxied")),
        data_dir=tmp_path_factory.mktemp("proxied"),
        auth="proxy",
        proxy_header="X-User",
        proxy_networks=["127.0.0.0/8"],
    )
    with serving(settings, signed_in=False) as stand:
        yield stand


@pytest.mark.parametrize(
    ("addresses", "source"),
    [
        (("127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "::ffff:127.0.0.9"), "127.0.0.1"),
        (("192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207"), "192.0.2.7"),
        (("2001:db8:0:1::1", "2001:db8:0:1:ffff::1%eth0"), "2001:0db8:0000:0001"),
    ],
)
def test_one_client_is_one_source(addresses: tuple[str, ...], source: str) -> None:
    assert {source_of(address) for address in addresses} == {source}


def test_others_are_others() -> None:
    others = ("127.0.0.1", "192.0.2.7", "192.0.2.8", "2001:db8:0:1::1", "2001:db8:0:2::1", "", "x")
    assert len({source_of(address) for address in others}) == len(others)


async def test_addresses_of_this_machine_do_not_multiply_guesses(settings: Settings) -> None:
    assert settings.database_url is not None
    async with Reader(settings.database_url.get_secret_value(), "kodosumi") as reader:
        counting = Attempts(reader)
        for number in range(attempts.FREE):
            await counting.begin(f"n{number}", f"127.0.{number}.1", None)
        for address in ("127.9.9.9", "::1", "::ffff:127.0.0.3"):
            with pytest.raises(TooManyAttemptsError):
                await counting.begin("n", address, None)
        await counting.begin("n", "192.0.2.1", None)


@pytest.mark.parametrize(
    "spellings",
    [
        (
            *("admin", "ADMIN", " admin", "admin\u00a0", "\u2003admin\n", "adm\u0069n"),
            *("\uff41\uff44\uff4d\uff49\uff4e", "ⓐdmin", "𝐚𝐝𝐦𝐢𝐧"),
        ),
        ("no/body", " NO/BODY", "no／body", "\tno/body"),  # what no account can be called
        ("nobody", "NoBody ", "ｎobody"),  # what none is called
    ],
)
def test_spellings_of_a_name_count_together(
    settings: Settings, spellings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FREE", 100)
    monkeypatch.setattr(attempts, "FIRST_DELAY", 0.0)
    with serving(settings, signed_in=False) as stand, stand.connect() as client:
        for name in spellings:
            guess = client.post("/api/login", json={"name": name, "password": "wrong, wrong"})
            assert guess.status_code == 401
        counted = {row["key"]: row["failures"] for row in fetch(stand.database, FAILURES)}
    names = {key: count for key, count in counted.items() if key.startswith("name ")}
    assert list(names.values()) == [len(spellings)]


def test_a_spelling_that_only_the_database_knows_counts_for_the_account_it_leads_to(
    settings: Settings,
) -> None:
    """``lower()`` of some databases makes more names alike than Python does."""
    with serving(settings, signed_in=False) as stand:  # makes the account
        pass
    execute(
        stand.database,
        """
        CREATE SCHEMA alike;
        CREATE FUNCTION alike.lower(text) RETURNS text IMMUTABLE LANGUAGE sql
            AS 'SELECT pg_catalog.lower(translate($1, chr(304), ''i''))';
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path = alike, pg_catalog, public',
                current_database());
        END $$
        """,
    )
    with serving(settings, signed_in=False) as stand, stand.connect() as client:
        for name in ("admin", "adm\u0130n"):
            assert client.post("/api/login", json={"name": name, "password": "x"}).is_error
        names = [r for r in fetch(stand.database, FAILURES) if r["key"].startswith("name ")]
    assert [row["failures"] for row in names] == [2]


def test_a_known_browser_gets_in_though_its_shared_address_is_locked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_DELAY", 0.0)
    with serving(settings) as stand, ExitStack() as stack:
        stand.client.post("/role", json={"name": "Mira", "password": PASSWORD, "email": None})
        known, rude, new = (stack.enter_context(stand.connect()) for _ in range(3))
        right = {"name": "Mira", "password": PASSWORD}
        assert known.post("/login", data=right).status_code == 200
        for number in range(attempts.FREE + 1):
            last = rude.post("/login", data={"name": f"n{number}", "password": "x"})
        assert last.status_code == 429
        assert new.post("/login", data=right).status_code == 429
        assert known.post("/login", data=right).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        *("\uff4d\uff49\uff52\uff41", "mira\u00a0", "ⓜira", "𝐦ira", "mi/ra", "mira\u200b"),
        *("6f9619ff-8b86-4011-b42d-00c04fc964ff", "x" * 201),
    ],
)
def test_a_proxys_name_that_would_become_another_is_refused(
    proxied: Stand, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(who: str) -> httpx.Response:
        return httpx.get(
            f"{proxied.url}/timeline/list",
            headers={b"X-User": who.encode()},
            timeout=DEADLINE,
            trust_env=False,
        )

    assert ask("mira").status_code == 200
    with caplog.at_level(logging.WARNING, "kodosumi_prefect.panel.accounts.identification"):
        for _ in range(3):
            answer = ask(name)
            assert answer.status_code == 401
            assert "X-User names" in answer.json()["detail"]
            assert "cannot have an account" in answer.json()["detail"]
    refusals = [record for record in caplog.records if "refused a sign-in" in record.message]
    assert len(refusals) == 1
    assert ask("MIRA").status_code == 200  # upper and lower case alike, as for passwords
    known = [row["name"] for row in fetch(proxied.database, "SELECT name FROM kodosumi.role")]
    assert known == ["mira"]


def test_the_doctor_tells_when_people_look_like_one_address(
    settings: Settings, database: str
) -> None:
    def found(**changes: object) -> Finding:
        return check_sign_in(settings.model_copy(update=changes))

    assert found().verdict is Verdict.OK
    assert found(panel_url="http://panel.example").verdict is Verdict.OK
    https = found(panel_url="https://panel.example")
    assert https.verdict is Verdict.WARN
    assert "proxy_networks" in https.text + https.remedy
    behind = {"panel_url": "https://panel.example", "proxy_networks": ["10.0.0.0/8"]}
    assert found(**behind).verdict is Verdict.OK
    assert "only API keys can sign in" in found(auth="proxy").text

    def failed(key: str, count: int, minutes: int = 1) -> None:
        execute(
            database,
            "INSERT INTO kodosumi.login_failure (key, failures, failed_at) VALUES "
            f"('{key}', {count}, now() - interval '{minutes} min')",
        )

    failed("address 10.0.0.7", 12)
    failed("name a", 6)
    failed("name b", 6)
    assert found().verdict is Verdict.OK  # two people who forgot theirs
    failed("name c", 1)
    crowd = found()
    assert crowd.verdict is Verdict.WARN
    assert "all 12 failed logins of the last hour came from 10.0.0.7, at 3 names" in crowd.text
    assert "proxy_networks" in crowd.remedy
    failed("address 192.0.2.1", 1, minutes=90)
    assert found().verdict is Verdict.WARN
    failed("address 192.0.2.2", 1)
    assert found().verdict is Verdict.OK


def test_the_doctor_says_nothing_of_a_database_that_it_cannot_read(settings: Settings) -> None:
    away = SecretStr("postgresql://a@127.0.0.1:1/a")
    told = check_sign_in(settings.model_copy(update={"database_url": away}))
    assert told.verdict is Verdict.OK
