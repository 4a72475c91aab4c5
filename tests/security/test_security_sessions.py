"""Attacks with what somebody left behind: an API key, a token of a session that has ended."""

import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from fastapi.routing import APIRoute
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.panel.accounts import ended_sessions as ended
from kodosumi_prefect.panel.accounts import role_api as roles
from kodosumi_prefect.panel.accounts import user_pages as users
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.panel.executions import streams
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import API_KEY_HEADER, SESSION_COOKIE
from tests.panel.panel_runs import Gate, Stand, fetch, frames, serving, until
from tests.spooler.recording import execute

PASSWORD = "long enough to guess"
HTML = {"Accept": "text/html"}


@pytest.fixture
def panel(settings: Settings) -> Iterator[Stand]:
    with serving(settings) as stand:
        made = stand.client.post(
            "/role", json={"name": "Mira", "password": PASSWORD, "email": None}
        )
        assert made.status_code == 201
        yield stand


def sign_in(panel: Stand) -> tuple[httpx.Client, str]:
    """A browser that is signed in, and the token for the header that the login answered."""
    client = panel.connect()
    answer = client.post("/login", data={"name": "Mira", "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return client, str(answer.json()["KODOSUMI_API_KEY"])


def by_cookie(panel: Stand, token: str, name: str = SESSION_COOKIE) -> int:
    """What a browser is answered that keeps a token."""
    with panel.connect() as client:
        client.cookies.set(name, token)
        return client.get("/timeline/list").status_code


def by_header(panel: Stand, token: str) -> int:
    with panel.connect(token) as client:
        return client.get("/timeline/list").status_code


def own_cookie(panel: Stand) -> str:
    return str(panel.app.state.panel.identification.sessions.own_cookie(SESSION_COOKIE))


def test_an_api_key_of_an_operator_changes_no_accounts(panel: Stand) -> None:
    operator = panel.person("Operator", operator=True)
    key = operator.client.post("/keys", json={"name": "left in a script"}).json()
    others = panel.client.post("/keys", json={"name": "another's"}).json()
    mira = panel.json("/role/Mira")["id"]
    program = panel.connect(key["key"])
    before = fetch(panel.database, "SELECT * FROM kodosumi.role ORDER BY id")
    attempts = [
        (
            "POST",
            "/role",
            {"json": {"name": "evil", "email": None, "password": None, "operator": True}},
        ),
        ("PUT", f"/role/{mira}", {"json": {"password": "chosen by a thief"}}),
        ("PUT", f"/role/{mira}", {"json": {"operator": True}}),
        ("PUT", f"/role/{mira}", {"json": {"email": "thief@example.org"}}),
        ("PUT", f"/role/{operator.id}", {"json": {"password": "x" * 9, "old_password": "y"}}),
        ("DELETE", f"/role/{mira}", {}),
        ("POST", "/users", {"data": {"name": "evil", "operator": "true", "generate": "true"}}),
        ("POST", f"/users/{mira}", {"data": {"name": "Mira", "operator": "true"}}),
        ("POST", f"/users/{mira}/password", {"data": {"generate": "true"}}),
        ("POST", f"/users/{mira}/delete", {}),
        ("POST", "/account/password", {"data": {"old": "a", "new": PASSWORD}}),
        ("POST", "/keys", {"json": {"name": "one more"}}),
        ("DELETE", f"/keys/{others['id']}", {}),
        ("POST", "/logout?everywhere=true", {}),
    ]
    for method, path, sent in attempts:
        answer = program.request(method, path, **sent)
        assert answer.status_code == 403, (method, path, answer.text)
        assert "sign in" in answer.json()["detail"], answer.text
    assert fetch(panel.database, "SELECT * FROM kodosumi.role ORDER BY id") == before
    # What programs are there for goes on.
    assert program.get("/role").status_code == 200
    assert program.get("/timeline/list").status_code == 200
    assert program.delete(f"/keys/{key['id']}").status_code == 204
    # Somebody who signed in may, by the token that the login answered too.
    assert panel.client.put(f"/role/{mira}", json={"email": "m@example.org"}).status_code == 200


def test_no_address_that_changes_accounts_is_left_to_keys(panel: Stand) -> None:
    key = panel.client.post("/keys", json={"name": "k"}).json()["key"]
    program = panel.connect(key)
    asked = 0
    for route in [*roles.router.routes, *users.router.routes]:
        assert isinstance(route, APIRoute)
        for method in (route.methods or set()) - {"GET", "HEAD"}:
            path = route.path.format(**dict.fromkeys(route.param_convertors, str(uuid4())))
            answer = program.request(method, path, json={"name": "x"})
            assert answer.status_code == 403, (method, path, answer.text)
            asked += 1
    assert asked >= 7


def test_the_cookie_s_token_opens_nothing_as_a_header_nor_the_other_way_round(
    panel: Stand,
) -> None:
    client, header = sign_in(panel)
    cookies = {client.cookies[name] for name in (own_cookie(panel), SESSION_COOKIE)}
    assert header not in cookies
    for cookie in cookies:
        assert by_cookie(panel, cookie) == 200
        assert by_header(panel, cookie) == 401
    assert by_header(panel, header) == 200
    assert by_cookie(panel, header) == by_cookie(panel, header, own_cookie(panel)) == 401
    assert by_header(panel, local_token(panel.settings)) == 200
    assert by_cookie(panel, local_token(panel.settings)) == 401


def test_tokens_of_an_older_version_count_until_they_expire_or_end(panel: Stand) -> None:
    mira = panel.json("/role/Mira")["id"]
    now = int(time.time())
    claims = {"sub": mira, "aud": "session", "epoch": 0, "iat": now, "exp": now + 600}
    key = panel_keys(panel.settings).session
    token = jwt.encode(claims, key, "HS256")
    other = jwt.encode(claims | {"exp": now + 601}, key, "HS256")
    assert by_cookie(panel, token) == by_header(panel, token) == 200
    with panel.connect(token) as client:
        assert client.post("/logout").status_code == 200
    assert by_cookie(panel, token) == by_header(panel, token) == 401
    # The last character of a signature can be written in several ways.
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert {by_header(panel, token[:-1] + letter) for letter in last} == {401}
    assert by_cookie(panel, other) == by_header(panel, other) == 200


@pytest.mark.parametrize("way", ["cookie", "header", "link"])
def test_after_a_logout_both_tokens_of_the_session_are_void(panel: Stand, way: str) -> None:
    client, header = sign_in(panel)
    cookie = client.cookies[SESSION_COOKIE]
    _, header_elsewhere = sign_in(panel)
    if way == "link":
        assert client.get("/logout", headers=HTML).status_code == 303
    else:
        leaving = panel.connect(header) if way == "header" else client
        assert leaving.post("/logout").json() == {"status": "signed out"}
    assert by_header(panel, header) == by_cookie(panel, cookie) == 401
    assert by_cookie(panel, cookie, own_cookie(panel)) == 401
    assert by_header(panel, header_elsewhere) == 200


def test_a_logout_counts_in_other_panels_too(panel: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    client, header = sign_in(panel)
    with serving(panel.settings) as other:
        assert client.post("/logout").status_code == 200
        assert by_header(other, header) == 401
        # One that was seen there just before is remembered, but not for long.
        client, header = sign_in(panel)
        assert by_header(other, header) == 200
        assert client.post("/logout").status_code == 200
        assert by_header(panel, header) == 401
        until(lambda: by_header(other, header) == 401, ended.FRESH + 5)


def test_an_open_stream_ends_with_its_session(
    panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streams.REVIEW <= 15
    monkeypatch.setattr(streams, "REVIEW", 0.1)
    with serving(panel.settings) as stand:
        mira = stand.json("/role/Mira")["id"]
        run = stand.run(owner=mira).begin()
        path = f"/outputs/stream/{run.fid}"
        (leaving, _), (staying, _) = sign_in(stand), sign_in(stand)
        with leaving.stream("GET", path) as one, staying.stream("GET", path) as other:
            ending, lasting = frames(one), frames(other)
            for coming in (ending, lasting):
                assert [next(coming).id for _ in range(4)] == ["1", "2", "3", "4"]
            with stand.connect() as somewhere:
                somewhere.cookies.set(SESSION_COOKIE, leaving.cookies[SESSION_COOKIE])
                assert somewhere.post("/logout").status_code == 200
            assert {frame.event for frame in ending} <= {"alive"}
            run.finish()
            assert [frame.event for frame in lasting if frame.event != "alive"][-1] == "eof"


def test_a_foreign_page_ends_no_session_and_a_forged_token_none(
    panel: Stand,
) -> None:
    client, header = sign_in(panel)
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert client.post("/logout", headers=foreign).status_code == 403
    claims = jwt.decode(header, options={"verify_signature": False})
    forged = jwt.encode(claims, b"x" * 32, "HS256")
    with panel.connect(forged) as forger:
        assert forger.post("/logout").status_code == 200
    assert by_header(panel, header) == 200
    assert fetch(panel.database, "SELECT * FROM kodosumi.ended_session") == []


def test_rows_of_ended_sessions_go_when_their_tokens_have_expired(panel: Stand) -> None:
    execute(panel.database, "INSERT INTO kodosumi.ended_session VALUES ('old', now())")
    client, _ = sign_in(panel)
    client.post("/logout")
    rows = fetch(
        panel.database, "SELECT id, expires_at > now() AS lives FROM kodosumi.ended_session"
    )
    assert [row["lives"] for row in rows] == [True] and rows[0]["id"] != "old"


def test_without_postgres_the_browser_forgets_at_least(
    settings: Settings, postgres: EmbeddedPostgres
) -> None:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    conninfo = psycopg.conninfo.conninfo_to_dict(url)
    gate = Gate(str(conninfo["host"]), int(str(conninfo.get("port", 5432))))
    through = SecretStr(make_conninfo(url, host="127.0.0.1", port=str(gate.port)))
    try:
        with serving(settings.model_copy(update={"database_url": through})) as stand:
            made = stand.client.post(
                "/role", json={"name": "Mira", "password": PASSWORD, "email": None}
            )
            assert made.status_code == 201
            client, _ = sign_in(stand)
            gate.shut()
            assert client.post("/logout").status_code == 503
            assert not any(name.startswith(SESSION_COOKIE) for name in client.cookies)
            gate.open()
    finally:
        gate.close()


def test_two_panels_of_one_machine_do_not_sign_each_other_out(
    panel: Stand, other_panel: Stand
) -> None:
    other = other_panel
    browser = httpx.Client(trust_env=False)  # keeps cookies by host, as browsers do

    def status(stand: Stand) -> int:
        return browser.get(f"{stand.url}/timeline/list").status_code

    form = {"name": "Mira", "password": PASSWORD}
    for stand in (panel, other):
        assert browser.post(f"{stand.url}/login", data=form).status_code == 200
    assert (status(panel), status(other)) == (200, 200)
    theirs = browser.cookies[own_cookie(other)]
    assert by_cookie(panel, theirs) == by_cookie(panel, theirs, own_cookie(panel)) == 401
    assert browser.post(f"{panel.url}/logout").status_code == 200
    assert (status(panel), status(other)) == (401, 200)
    assert browser.post(f"{panel.url}/login", data=form).status_code == 200
    assert browser.post(f"{other.url}/logout").status_code == 200
    assert (status(panel), status(other)) == (200, 401)
    browser.close()


def test_a_client_that_knows_the_cookie_s_usual_name_only_goes_on(panel: Stand) -> None:
    client, _ = sign_in(panel)
    token = client.cookies[SESSION_COOKIE]
    assert by_cookie(panel, token) == 200
    assert API_KEY_HEADER == "KODOSUMI_API_KEY" and SESSION_COOKIE == "kodosumi_jwt"


@pytest.fixture
def other_panel(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A panel of another installation: with a database and a secret of its own."""
    name = f"of_{uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname=name))
    try:
        settings = Settings(database_url=url, data_dir=tmp_path_factory.mktemp("other"))
        with serving(settings) as stand:
            made = stand.client.post(
                "/role", json={"name": "Mira", "password": PASSWORD, "email": None}
            )
            assert made.status_code == 201
            yield stand
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
