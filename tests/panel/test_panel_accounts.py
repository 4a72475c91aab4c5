"""Accounts over HTTP: signing in, sessions, API keys, and who may change whom."""

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.panel.accounts import accounts, api_keys
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER, SESSION_COOKIE
from tests.panel.panel_runs import Stand, fetch, serving, until
from tests.spooler.recording import execute

NO_ONE = "00000000-0000-4000-8000-000000000000"  # the id of nobody
PASSWORD = "long enough to guess"
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def panel(fresh_panel: Stand) -> Stand:
    return fresh_panel


def member(panel: Stand, name: str = "Mira", **more: object) -> str:
    """The id of a new account that signs in with ``PASSWORD``."""
    made = panel.client.post(
        "/role", json={"name": name, "password": PASSWORD, "email": None, **more}
    )
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def signed_in(panel: Stand, name: str = "Mira", password: str = PASSWORD) -> httpx.Client:
    client = panel.connect()
    answer = client.post("/login", data={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    return client


def whoami(client: httpx.Client, id: str) -> int:
    return client.get(f"/role/{id}").status_code


def test_form_and_json_sign_in_and_the_answer_opens_the_api(panel: Stand) -> None:
    id = member(panel)
    for answer in (
        panel.connect().post("/login", data={"name": "mira", "password": PASSWORD}),
        panel.connect().post("/api/login", json={"name": "Mira", "password": PASSWORD}),
    ):
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"name", "id", "KODOSUMI_API_KEY"}
        assert (body["name"], body["id"]) == ("Mira", id)
        cookie = next(
            c for c in answer.headers.get_list("set-cookie") if c.startswith(SESSION_COOKIE)
        )
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie
        by_cookie = panel.connect()
        by_cookie.cookies.set(SESSION_COOKIE, answer.cookies[SESSION_COOKIE])
        assert whoami(by_cookie, id) == 200
        assert whoami(panel.connect(body["KODOSUMI_API_KEY"]), id) == 200


def test_wrong_names_passwords_and_disabled_accounts_look_alike(panel: Stand) -> None:
    member(panel)
    member(panel, "Gone", active=False)
    tries = [("Mira", "not it at all"), ("nobody", PASSWORD), ("Gone", PASSWORD), ("", "")]
    answers = [panel.connect().post("/login", data={"name": n, "password": p}) for n, p in tries]
    assert {a.status_code for a in answers} == {401}
    assert {a.text for a in answers} == {answers[0].text}
    assert not any("set-cookie" in a.headers for a in answers)


def test_no_password_is_taken_from_an_address(panel: Stand) -> None:
    member(panel)
    query = {"name": "Mira", "password": PASSWORD}
    assert "set-cookie" not in panel.connect().get("/login", params=query).headers
    assert PASSWORD not in panel.connect().get("/login", params=query).text
    # Kodosumi's clients may sign in so; a program is told, and a person gets the page.
    told = panel.connect().get("/login", params=query)
    assert told.status_code == 400 and "POST it to /login" in told.json()["detail"]
    assert panel.connect().get("/login", params=query, headers=HTML).status_code == 200
    assert panel.connect().post("/login", params=query).status_code == 401
    assert panel.connect().get("/api/login", params=query).status_code == 405


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"name": 1}', b'{"nmae": "secretvalue", "password": ["secretvalue"]}']
)
def test_a_malformed_login_is_an_error_that_repeats_no_password(panel: Stand, body: bytes) -> None:
    answer = panel.connect().post(
        "/api/login", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert "secretvalue" not in answer.text
    assert set(answer.json()) == {"error", "path", "detail", "status_code"}


def test_people_are_sent_to_the_page_and_back_to_where_they_wanted(panel: Stand) -> None:
    member(panel)
    client = panel.connect()
    sent = client.get("/executions?q=a%26b", headers=HTML)
    assert sent.status_code == 303
    assert sent.headers["location"] == "/login?redirect=/executions%3Fq%3Da%2526b"
    shown = client.get(sent.headers["location"], headers=HTML)
    assert shown.status_code == 200
    assert 'value="/executions?q=a%26b"' in shown.text
    assert "<script" not in shown.text
    form = {"name": "Mira", "password": "wrong one", "redirect": "/executions?q=a%26b"}
    again = client.post("/login", data=form, headers=HTML)
    assert again.status_code == 401
    assert "Name or password is wrong." in again.text and "wrong one" not in again.text
    done = client.post("/login", data=form | {"password": PASSWORD}, headers=HTML)
    assert (done.status_code, done.headers["location"]) == (303, "/executions?q=a%26b")
    page = client.get("/executions", headers=HTML)
    assert page.status_code == 200 and "Mira" in page.text


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "executions",
        "/\tevil",
        "http:evil",
        "/\n/evil.example",
        "//[",
    ],
)
def test_a_redirect_never_leads_elsewhere(panel: Stand, target: str) -> None:
    member(panel)
    form = {"name": "Mira", "password": PASSWORD, "redirect": target}
    answer = panel.connect().post("/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    shown = panel.connect().get("/login", params={"redirect": target})
    assert 'name="redirect" value="/"' in shown.text


def test_programs_get_a_401_that_says_what_to_send(panel: Stand) -> None:
    for path in ("/timeline/list", "/role", "/keys", "/nowhere", f"/outputs/stream/{uuid4()}"):
        answer = panel.connect().get(path)
        assert answer.status_code == 401, path
        assert set(answer.json()) == {"error", "path", "detail", "status_code"}
        assert API_KEY_HEADER in answer.json()["detail"]
    assert panel.connect().post("/outputs/x/cancel").status_code == 401
    assert panel.connect().delete("/outputs/x").status_code == 401


def test_probes_docs_and_static_files_are_open(panel: Stand) -> None:
    for path in ("/livez", "/readyz", "/docs", "/openapi.json", "/static/panel.css", "/login"):
        assert panel.connect().get(path).status_code == 200, path


def unsigned(claims: dict[str, object]) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def test_expired_forged_and_unsigned_tokens_open_nothing(panel: Stand) -> None:
    id = member(panel)
    key = panel_keys(panel.settings).session
    now = int(time.time())
    good = {"sub": id, "aud": "session", "epoch": 0, "iat": now, "exp": now + 600}
    assert whoami(panel.connect(jwt.encode(good, key, "HS256")), id) == 200
    device = panel.app.state.panel.identification.sessions.know_device(id, "it")
    bad = {
        "expired": jwt.encode(good | {"exp": now - 1}, key, "HS256"),
        "without an end": jwt.encode({k: v for k, v in good.items() if k != "exp"}, key, "HS256"),
        "another key": jwt.encode(good, b"x" * 32, "HS256"),
        "another algorithm": jwt.encode(good, key * 2, "HS512"),
        "none": unsigned(good),
        "unsigned": jwt.encode(good, key, "HS256").rsplit(".", 1)[0] + ".",
        "another purpose": device,
        "another epoch": jwt.encode(good | {"epoch": 1}, key, "HS256"),
        "an epoch of text": jwt.encode(good | {"epoch": "0"}, key, "HS256"),
        "nobody": jwt.encode(good | {"sub": str(uuid4())}, key, "HS256"),
        "no id": jwt.encode(good | {"sub": "'; DROP TABLE role"}, key, "HS256"),
        "nonsense": "a.b.c",
        "empty": "",
    }
    for name, token in bad.items():
        assert whoami(panel.connect(token or "x"), id) == 401, name
        client = panel.connect()
        client.cookies.set(SESSION_COOKIE, token)
        assert whoami(client, id) == 401, name


def test_a_session_ends_with_its_hours(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    brief = start_panel(settings.model_copy(update={"session_hours": 4 / 3600}))
    id = member(brief)
    form = {"name": "Mira", "password": PASSWORD}
    token = brief.connect().post("/login", data=form).json()["KODOSUMI_API_KEY"]
    assert whoami(brief.connect(token), id) == 200
    until(lambda: whoami(brief.connect(token), id) == 401, 10)


def test_a_new_password_ends_the_other_sessions_and_needs_the_old(panel: Stand) -> None:
    id = member(panel)
    here, there = signed_in(panel), signed_in(panel)
    new = {"password": "another long password"}
    assert here.put(f"/role/{id}", json=new).status_code == 403
    assert here.put(f"/role/{id}", json=new | {"old_password": "guessed"}).status_code == 403
    assert here.put(f"/role/{id}", json=new | {"old_password": PASSWORD}).status_code == 200
    assert whoami(here, id) == 200
    assert whoami(there, id) == 401
    assert (
        panel.connect().post("/login", data={"name": "Mira", "password": PASSWORD}).status_code
        == 401
    )
    signed_in(panel, password="another long password")


def test_operators_set_passwords_of_others_without_knowing_them(panel: Stand) -> None:
    id = member(panel)
    client = signed_in(panel)
    assert panel.client.put(f"/role/{id}", json={"password": "set by somebody"}).status_code == 200
    assert whoami(client, id) == 401
    signed_in(panel, password="set by somebody")


def test_disabling_ends_sessions_and_keys_also_in_another_panel(panel: Stand) -> None:
    id = member(panel)
    client = signed_in(panel)
    key = client.post("/keys", json={"name": "mine"}).json()["key"]
    with serving(panel.settings) as other:
        elsewhere = other.connect(key)
        assert whoami(elsewhere, id) == 200
        assert panel.client.put(f"/role/{id}", json={"active": False}).status_code == 200
        assert whoami(client, id) == 401
        assert whoami(panel.connect(key), id) == 401
        until(lambda: whoami(elsewhere, id) == 401, accounts.FRESH + 2)
    assert panel.client.put(f"/role/{id}", json={"active": True}).status_code == 200
    assert whoami(client, id) == 401  # that session is over for good


def test_logging_out_here_and_everywhere(panel: Stand) -> None:
    id = member(panel)
    here, there = signed_in(panel), signed_in(panel)
    assert here.post("/logout").json() == {"status": "signed out"}
    assert SESSION_COOKIE not in here.cookies
    assert whoami(here, id) == 401
    assert whoami(there, id) == 200
    here = signed_in(panel)
    assert here.post("/logout?everywhere=true").status_code == 200
    assert whoami(there, id) == 401
    gone = signed_in(panel).get("/logout", headers=HTML)
    assert (gone.status_code, gone.headers["location"]) == (303, "/login")
    assert panel.connect().post("/logout").status_code == 200


def test_keys_are_shown_once_listed_and_revoked(panel: Stand) -> None:
    id = member(panel)
    client = signed_in(panel)
    made = client.post("/keys", json={"name": "nightly job", "expires_days": 30})
    assert made.status_code == 201
    key = made.json()["key"]
    (listed,) = client.get("/keys").json()
    assert listed == {k: v for k, v in made.json().items() if k != "key"}
    assert key.startswith(listed["prefix"]) and key not in client.get("/keys").text
    assert listed["used_at"] is None
    by_key = panel.connect(key)
    assert whoami(by_key, id) == 200
    assert client.get("/keys").json()[0]["used_at"] is not None
    assert by_key.post("/keys", json={"name": "another"}).status_code == 403
    assert client.delete(f"/keys/{listed['id']}").status_code == 204
    assert client.get("/keys").json() == []
    assert whoami(by_key, id) == 401
    assert client.delete(f"/keys/{listed['id']}").status_code == 404


def test_only_hashes_of_keys_and_passwords_are_stored(panel: Stand) -> None:
    member(panel)
    client = signed_in(panel)
    key = client.post("/keys", json={"name": "k"}).json()["key"]
    stored = fetch(panel.database, "SELECT password FROM kodosumi.role WHERE name = 'Mira'")
    assert stored[0]["password"].startswith("$argon2id$")
    for table in ("role", "api_key", "login_failure"):
        dumped = str(fetch(panel.database, f"SELECT t::text AS t FROM kodosumi.{table} t"))
        assert key not in dumped and PASSWORD not in dumped
        assert key.encode().hex() not in dumped


def test_a_key_expires_and_a_use_is_noted_once_a_minute(
    panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "FRESH", 0.0)
    id = member(panel)
    client = signed_in(panel)
    key = client.post("/keys", json={"name": "k"}).json()["key"]
    by_key = panel.connect(key)
    assert whoami(by_key, id) == 200
    first = client.get("/keys").json()[0]["used_at"]
    assert whoami(by_key, id) == 200
    assert client.get("/keys").json()[0]["used_at"] == first
    execute(panel.database, "UPDATE kodosumi.api_key SET used_at = now() - interval '61 s'")
    assert whoami(by_key, id) == 200
    assert client.get("/keys").json()[0]["used_at"] >= first
    execute(panel.database, "UPDATE kodosumi.api_key SET expires_at = now() - interval '1 s'")
    assert whoami(by_key, id) == 401


def test_keys_of_others_are_theirs_and_their_operators(panel: Stand) -> None:
    id = member(panel)
    key = signed_in(panel).post("/keys", json={"name": "k"}).json()
    other = panel.person("Noor")
    assert other.client.get("/keys").json() == []
    assert other.client.get("/keys", params={"role": id}).status_code == 403
    assert other.client.delete(f"/keys/{key['id']}").status_code == 404
    assert [k["id"] for k in panel.json("/keys", params={"role": id})] == [key["id"]]
    assert panel.client.delete(f"/keys/{key['id']}").status_code == 204


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "x", "expires_days": 0}, {"name": "a\u202eb"}]
)
def test_a_malformed_key_is_422(panel: Stand, body: dict[str, object]) -> None:
    assert panel.client.post("/keys", json=body).status_code == 422


def test_roles_are_made_read_changed_and_removed(panel: Stand) -> None:
    id = member(panel, email="mira@example.org")
    expected = {
        "id": id,
        "name": "Mira",
        "email": "mira@example.org",
        "active": True,
        "operator": False,
    }
    assert panel.json(f"/role/{id}") == expected
    assert panel.json("/role/MIRA") == expected
    assert [r["name"] for r in panel.json("/role")] == ["admin", "Mira"]
    changed = panel.client.put(f"/role/{id}", json={"name": "Myra", "email": ""})
    assert changed.json() == expected | {"name": "Myra", "email": None}
    assert panel.client.delete(f"/role/{id}").status_code == 204
    assert panel.get(f"/role/{id}").status_code == 404
    assert panel.get("/role/Myra").status_code == 404
    assert panel.client.put(f"/role/{id}", json={}).status_code == 404
    assert panel.client.delete(f"/role/{id}").status_code == 404


def test_a_name_is_taken_whatever_its_case(panel: Stand) -> None:
    id = member(panel)
    assert (
        panel.client.post(
            "/role", json={"name": "mIRA ", "email": None, "password": None}
        ).status_code
        == 409
    )
    other = panel.person("Noor")
    answer = panel.client.put(f"/role/{other.id}", json={"name": "MIRA"})
    assert answer.status_code == 409
    assert "MIRA" in answer.json()["detail"]
    assert panel.client.put(f"/role/{id}", json={"name": "MIRA"}).status_code == 200


def test_of_two_accounts_made_at_once_with_one_name_one_is_made(panel: Stand) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(
                lambda _: (
                    panel.client.post(
                        "/role", json={"name": "Twin", "email": None, "password": None}
                    ).status_code
                ),
                range(8),
            )
        )
    assert sorted(codes) == [201] + [409] * 7


@pytest.mark.parametrize(
    "name",
    ["", "  ", "a/b", "a\x00b", "a\u202eb", "x" * 201, NO_ONE, "Owner", "Team:legal", f"@{NO_ONE}"],
)
def test_a_name_that_does_not_fit_is_422(panel: Stand, name: str) -> None:
    assert (
        panel.client.post("/role", json={"name": name, "email": None, "password": None}).status_code
        == 422
    )


@pytest.mark.parametrize("password", ["short", "x" * 2000, 7, None])
def test_a_password_that_does_not_fit_is_422_and_not_repeated(
    panel: Stand, password: str | int | None
) -> None:
    answer = panel.client.post("/role", json={"name": "Pat", "password": password, "email": None})
    assert answer.status_code == {None: 201, 7: 400}.get(password, 422)
    assert str(password) not in answer.text or password in (None, 7)


def test_members_look_after_themselves_only(panel: Stand) -> None:
    id = member(panel)
    client = signed_in(panel)
    other = panel.person("Noor")
    assert client.get("/role").status_code == 403
    assert (
        client.post("/role", json={"name": "x", "email": None, "password": None}).status_code == 403
    )
    assert client.delete(f"/role/{id}").status_code == 403
    for name in (other.id, "Noor", "nobody", str(uuid4())):
        assert client.get(f"/role/{name}").status_code == 403, name
    assert client.put(f"/role/{other.id}", json={"email": "a@example.org"}).status_code == 403
    for body in ({"operator": True}, {"active": False}, {"name": "Boss"}, {"operator": None}):
        assert client.put(f"/role/{id}", json=body).status_code == 403, body
    assert client.put(f"/role/{id}", json={"email": "a@example.org"}).status_code == 200
    assert client.get("/role/mira").json()["email"] == "a@example.org"


def test_the_last_operator_stays_one(panel: Stand) -> None:
    admin = panel.json("/role/admin")
    for body in ({"operator": False}, {"active": False}):
        answer = panel.client.put(f"/role/{admin['id']}", json=body)
        assert answer.status_code == 409, body
        assert "last" in answer.json()["detail"]
    assert panel.client.delete(f"/role/{admin['id']}").status_code == 409
    assert panel.json("/role/admin") == admin
    second = panel.person("Second", operator=True)
    panel.client.put(f"/role/{second.id}", json={"active": False})
    assert panel.client.delete(f"/role/{admin['id']}").status_code == 409  # that one is disabled
    panel.client.put(f"/role/{second.id}", json={"active": True})
    assert panel.client.put(f"/role/{admin['id']}", json={"operator": False}).status_code == 200


NOTHING = {"name": None, "email": None, "clear_email": False, "password": None, "active": None}
TURNS = {"change_role": NOTHING | {"operator": False}, "remove_role": {}}


@pytest.mark.parametrize("first", TURNS)
@pytest.mark.parametrize("second", TURNS)
def test_of_two_operators_who_turn_on_each_other_at_once_one_is_left(
    panel: Stand, first: str, second: str
) -> None:
    other = panel.person("Other", operator=True)
    ids = sorted([other.id, panel.json("/role/admin")["id"]])
    queries = Queries("kodosumi")
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with (
        psycopg.connect(panel.database) as one,
        psycopg.connect(panel.database) as two,
        ThreadPoolExecutor(1) as pool,
    ):
        done = one.execute(queries[first], TURNS[first] | {"id": ids[0]}).fetchall()
        later = pool.submit(
            lambda: two.execute(queries[second], TURNS[second] | {"id": ids[1]}).fetchall()
        )
        until(lambda: later.done() or fetch(panel.database, waiting))
        one.commit()
        assert len(done) == 1
        assert later.result() == []


def test_the_first_start_makes_an_operator_and_tells_a_random_password_once(
    settings: Settings,
) -> None:
    said: list[str] = []
    with serving(settings, say=said.append) as first, serving(settings, say=said.append):
        (line,) = said
        assert "admin" in line
        password = line.partition("password ")[2].split()[0]
        assert len(password) >= 16
        client = signed_in(first, "admin", password)
        assert client.get("/role").status_code == 200
    for guess in ("admin", "password", "kodosumi", ""):
        assert guess != password
    with serving(settings, say=said.append):
        assert len(said) == 1


def test_the_first_password_can_be_set_and_is_not_told(settings: Settings) -> None:
    said: list[str] = []
    chosen = SecretStr("chosen by the team")
    with serving(settings.model_copy(update={"admin_password": chosen}), say=said.append) as stand:
        assert len(said) == 1 and "chosen by the team" not in said[0]
        signed_in(stand, "admin", "chosen by the team")
    changed = SecretStr("changed afterwards")
    with serving(settings.model_copy(update={"admin_password": changed}), say=said.append) as stand:
        signed_in(stand, "admin", "chosen by the team")
