"""Behind a reverse proxy, and called by pages of other sites."""

import logging
import socket
from collections.abc import Callable

import httpx
import pytest
from pydantic import ValidationError

from kodosumi_prefect.panel.web.server import PLAIN
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER, SESSION_COOKIE
from tests.panel.panel_runs import Person, Stand, fetch

PASSWORD = "long enough to guess"
HTML = {"Accept": "text/html"}
NAMED = {"X-Forwarded-User": "mira@example.org"}
Start = Callable[..., Stand]


@pytest.fixture
def proxied(settings: Settings, start_panel: Start) -> Stand:
    """A panel that trusts proxies on this machine, and signs in by password."""
    return start_panel(settings.model_copy(update={"proxy_networks": ["127.0.0.0/8"]}))


@pytest.fixture
def by_proxy(settings: Settings, start_panel: Start) -> Stand:
    """A panel whose proxy signs people in."""
    networks = ["127.0.0.1", "10.0.0.0/8"]
    return start_panel(
        settings.model_copy(update={"proxy_networks": networks, "auth": "proxy"}), signed_in=False
    )


def login(stand: Stand, **headers: str) -> httpx.Response:
    made = stand.client.post("/role", json={"name": "Mira", "password": PASSWORD, "email": None})
    assert made.status_code == 201
    form = {"name": "Mira", "password": PASSWORD, "redirect": "/"}
    return stand.connect().post("/login", data=form, headers=headers)


def test_cookies_are_for_https_where_the_proxy_says_so(proxied: Stand) -> None:
    cookies = login(proxied, **{"X-Forwarded-Proto": "https"}).headers.get_list("set-cookie")
    assert len(cookies) == 3
    assert all("Secure" in cookie and "HttpOnly" in cookie for cookie in cookies)


def test_nobody_else_is_believed_about_https_paths_and_addresses(
    fresh_panel: Stand,
) -> None:
    lies = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/elsewhere",
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Host": "evil.example",
    }
    answer = login(fresh_panel, **lies)
    assert answer.headers["location"] == "/"
    assert "Secure" not in answer.headers["set-cookie"]
    assert "/elsewhere" not in str(answer.headers)
    fresh_panel.connect().post("/login", data={"name": "x", "password": "x"}, headers=lies)
    keys = str(fetch(fresh_panel.database, "SELECT key FROM kodosumi.login_failure"))
    assert "192.0.2.7" not in keys and "127.0.0.1" in keys


def test_failed_logins_count_for_the_client_not_the_proxy(proxied: Stand) -> None:
    headers = {"X-Forwarded-For": "198.51.100.9, 192.0.2.7"}
    proxied.connect().post("/login", data={"name": "x", "password": "x"}, headers=headers)
    keys = str(fetch(proxied.database, "SELECT key FROM kodosumi.login_failure"))
    assert "address 192.0.2.7" in keys and "127.0.0.1" not in keys


@pytest.mark.parametrize("stripped", [True, False])
def test_below_a_path_links_redirects_and_cookies_lead_there(
    proxied: Stand, stripped: bool
) -> None:
    headers = HTML | {"X-Forwarded-Prefix": "/agents"}
    base = "" if stripped else "/agents"
    client = proxied.connect()
    sent = client.get(f"{base}/executions", headers=headers)
    assert sent.headers["location"] == "/agents/login?redirect=/agents/executions"
    answer = login(proxied, **headers)
    assert answer.headers["location"] == "/"  # what the form says, and that is a local path
    assert all("Path=/agents;" in c for c in answer.headers.get_list("set-cookie"))
    form = {"name": "Mira", "password": PASSWORD, "redirect": "https://elsewhere.example"}
    gone = client.post(f"{base}/login", data=form, headers=headers)
    assert gone.headers["location"] == "/agents/"
    key = {API_KEY_HEADER: proxied.token}
    page = client.get(f"{base}/executions", headers=headers | key)
    assert page.status_code == 200
    assert 'href="/agents/executions"' in page.text
    assert 'href="/agents/static/panel.css"' in page.text
    assert 'action="/agents/logout"' in page.text
    static = client.get(f"{base}/static/panel.css", headers=headers)
    assert (static.status_code, static.headers["cache-control"]) == (200, "no-cache")
    assert client.get(f"{base}/docs", headers=headers).status_code == 200
    assert client.get(f"{base}/livez", headers=headers).status_code == 200
    assert client.get(f"{base}/timeline/list", headers={"X-Forwarded-Prefix": "/agents"} | key)
    missing = client.get(f"{base}/executions/x", headers=headers | key)
    assert missing.status_code == 404 and "<html" in missing.text


@pytest.mark.parametrize("prefix", ["//evil.example", "/\\evil", "/static/..", "/a\tb"])
def test_a_strange_prefix_opens_nothing(proxied: Stand, prefix: str) -> None:
    headers = {"X-Forwarded-Prefix": prefix}
    for path in ("/timeline/list", "/role", "/outputs/status/x"):
        assert proxied.connect().get(path, headers=headers).status_code == 401, path


def test_the_proxy_says_who_is_signed_in_and_the_first_time_makes_an_account(
    by_proxy: Stand,
) -> None:
    client = by_proxy.connect()
    assert client.get("/role/mira@example.org", headers=NAMED).json()["operator"] is False
    assert client.get("/timeline/list", headers=NAMED).status_code == 200
    assert client.get("/role", headers=NAMED).status_code == 403
    names = [r["name"] for r in fetch(by_proxy.database, "SELECT name FROM kodosumi.role")]
    assert names == ["mira@example.org"]


def test_who_is_called_as_questions_are_asked_of_others_gets_no_account(by_proxy: Stand) -> None:
    refused = by_proxy.connect().get("/timeline/list", headers={"X-Forwarded-User": "Owner"})
    assert refused.status_code == 401
    assert "cannot have an account" in refused.json()["detail"]
    assert fetch(by_proxy.database, "SELECT name FROM kodosumi.role") == []


def test_without_the_header_nobody_is(by_proxy: Stand) -> None:
    client = by_proxy.connect()
    assert client.get("/timeline/list").status_code == 401
    page = client.get("/executions", headers=HTML)
    assert page.status_code == 401  # there is no page to sign in at
    for headers in ({"X-Forwarded-User": ""}, {"X-Forwarded-User": "a/b"}):
        assert client.get("/timeline/list", headers=headers).status_code == 401
    twice = [("X-Forwarded-User", "admin"), ("X-Forwarded-User", "mira@example.org")]
    assert client.get("/timeline/list", headers=twice).status_code == 401


def test_the_header_counts_from_the_proxys_networks_only(
    settings: Settings, start_panel: Start
) -> None:
    elsewhere = {"proxy_networks": ["10.0.0.0/8"], "auth": "proxy"}
    stand = start_panel(settings.model_copy(update=elsewhere), signed_in=False)
    for more in ({}, {"X-Forwarded-For": "10.0.0.1"}, {"X-Real-IP": "10.0.0.1"}):
        assert stand.connect().get("/timeline/list", headers=NAMED | more).status_code == 401
    assert fetch(stand.database, "SELECT FROM kodosumi.role") == []
    own = {"auth": "proxy"}
    nowhere = start_panel(settings.model_copy(update=own), signed_in=False)
    assert nowhere.connect().get("/timeline/list", headers=NAMED).status_code == 401


def test_with_passwords_the_header_means_nothing(proxied: Stand) -> None:
    headers = {"X-Forwarded-User": "admin"}
    assert proxied.connect().get("/timeline/list", headers=headers).status_code == 401


def test_another_header_can_be_chosen(settings: Settings, start_panel: Start) -> None:
    chosen = {
        "proxy_networks": ["127.0.0.1"],
        "auth": "proxy",
        "proxy_header": "X-Auth-Request-Email",
    }
    stand = start_panel(settings.model_copy(update=chosen), signed_in=False)
    named = {"X-Auth-Request-Email": "noor@example.org"}
    assert stand.connect().get("/timeline/list", headers=named).status_code == 200
    assert stand.connect().get("/timeline/list", headers=NAMED).status_code == 401


def test_behind_such_a_proxy_keys_work_and_passwords_do_not(
    by_proxy: Stand, settings: Settings, start_panel: Start
) -> None:
    key = by_proxy.connect().post("/keys", json={"name": "k"}, headers=NAMED).json()["key"]
    assert by_proxy.connect(key).get("/timeline/list").status_code == 200
    assert by_proxy.connect(key).get("/role/mira@example.org").status_code == 200
    form = {"name": "mira@example.org", "password": PASSWORD}
    assert by_proxy.connect().post("/login", data=form).status_code == 403
    assert by_proxy.connect().post("/api/login", json=form).status_code == 403
    by_password = start_panel(settings)
    session = by_proxy.connect()
    session.cookies.set(SESSION_COOKIE, by_password.cookie)
    assert session.get("/timeline/list").status_code == 401


def test_a_disabled_account_is_not_let_in_by_the_proxy(
    by_proxy: Stand, settings: Settings, start_panel: Start
) -> None:
    id = by_proxy.connect().get("/role/mira@example.org", headers=NAMED).json()["id"]
    by_password = start_panel(settings)
    assert by_password.client.put(f"/role/{id}", json={"active": False}).status_code == 200
    assert by_proxy.connect().get("/timeline/list", headers=NAMED).status_code == 401


@pytest.mark.parametrize("networks", ["*", "nonsense", "10.0.0.0/33"])
def test_what_is_no_network_is_refused_by_name(networks: str) -> None:
    with pytest.raises(ValidationError, match="not a network"):
        Settings(proxy_networks=networks)


CHANGES = [
    ("POST", "/login", {"data": {"name": "Mira", "password": PASSWORD}}),
    ("POST", "/api/login", {"json": {"name": "Mira", "password": PASSWORD}}),
    ("POST", "/logout", {}),
    ("GET", "/logout", {}),
    ("GET", "/logout/", {}),
    ("POST", "/keys", {"json": {"name": "k"}}),
    ("POST", "/keys", {"content": '{"name": "k"}', "headers": {"Content-Type": "text/plain"}}),
    ("POST", "/keys/", {"content": '{"name": "k"}', "headers": {"Content-Type": "text/plain"}}),
    ("POST", "/role", {"json": {"name": "made by another site", "email": None, "password": None}}),
    ("DELETE", "/outputs", {"json": {"fid": []}}),
]
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "file://"},
    {"Origin": "http://["},
]


@pytest.fixture
def mira(fresh_panel: Stand) -> Person:
    """An operator whose browser has a session."""
    person = fresh_panel.person("Mira", operator=True)
    person.client.headers.pop(API_KEY_HEADER)
    person.client.cookies.set(SESSION_COOKIE, person.cookie)
    return person


def test_pages_of_other_sites_change_nothing(fresh_panel: Stand, mira: Person) -> None:
    for method, path, sent in CHANGES:
        for foreign in FOREIGN:
            headers = sent.get("headers", {}) | foreign
            answer = mira.client.request(method, path, **(sent | {"headers": headers}))
            assert answer.status_code == 403, (method, path, foreign)
            assert "set-cookie" not in answer.headers
    assert mira.client.put(f"/role/{mira.id}", json={}, headers=FOREIGN[0]).status_code == 403
    assert mira.client.delete(f"/role/{mira.id}", headers=FOREIGN[0]).status_code == 403
    assert mira.client.get("/keys").json() == []


def test_the_panels_own_pages_and_programs_do(fresh_panel: Stand, mira: Person) -> None:
    for own in (
        {"Sec-Fetch-Site": "same-origin", "Origin": fresh_panel.url},
        {"Origin": fresh_panel.url},
        {},
    ):
        assert mira.client.post("/keys", json={"name": "k"}, headers=own).status_code == 201, own


def test_a_link_from_elsewhere_opens_a_page(mira: Person) -> None:
    headers = HTML | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert mira.client.get("/executions", headers=headers).status_code == 200


def test_no_site_may_read_unless_it_is_named(fresh_panel: Stand) -> None:
    headers = {"Origin": "https://app.example"}
    assert "access-control-allow-origin" not in fresh_panel.get("/keys", headers=headers).headers
    asked = headers | {"Access-Control-Request-Method": "POST"}
    answer = fresh_panel.client.options("/keys", headers=asked)
    assert "access-control-allow-origin" not in answer.headers


def test_a_named_site_calls_with_a_key_and_never_with_a_cookie(
    settings: Settings, start_panel: Start
) -> None:
    named = start_panel(settings.model_copy(update={"cors_origins": ["https://app.example"]}))
    headers = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": f"{API_KEY_HEADER}, content-type",
    }
    preflight = named.connect().options("/keys", headers=headers | asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in preflight.headers
    with_key = named.client.post("/keys", json={"name": "k"}, headers=headers)
    assert with_key.status_code == 201
    assert with_key.headers["access-control-allow-origin"] == "https://app.example"
    with_cookie = named.connect()
    with_cookie.cookies.set(SESSION_COOKIE, named.cookie)
    assert with_cookie.get("/keys").status_code == 200
    assert with_cookie.get("/keys", headers=headers).status_code == 401
    assert with_cookie.post("/keys", json={"name": "k"}, headers=headers).status_code == 401
    other = {"Origin": "https://other.example"}
    assert named.client.post("/keys", json={"name": "k"}, headers=other).status_code == 403


def test_health_and_numbers_are_open_to_this_machine_alone(
    fresh_panel: Stand, proxied: Stand
) -> None:
    for path in ("/health", "/metrics"):
        assert fresh_panel.connect().get(path).status_code == 200, path
        for forwarded in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
            answer = fresh_panel.connect().get(path, headers={forwarded: "127.0.0.1"})
            assert answer.status_code == 401, (path, forwarded)
        assert proxied.connect().get(path).status_code == 401, path  # from a proxy, for whomever
        assert proxied.client.get(path).status_code == 200, path


def other_address() -> str:
    """An address of this machine that is none of its loopback ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no other address")
        return str(probe.getsockname()[0])


def test_everybody_may_be_listened_to_with_a_warning(
    settings: Settings, start_panel: Start, caplog: pytest.LogCaptureFixture
) -> None:
    address = other_address()
    with caplog.at_level(logging.WARNING, "kodosumi_prefect"):
        stand = start_panel(settings.model_copy(update={"host": "0.0.0.0"}))
    assert PLAIN % "0.0.0.0" in caplog.messages
    port = httpx.URL(stand.url).port
    with httpx.Client(base_url=f"http://{address}:{port}", trust_env=False) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/livez", headers={"Host": "panel.example"}).status_code == 200
        for path in ("/health", "/metrics", "/timeline/list"):
            assert client.get(path).status_code == 401, path
            assert client.get(path, headers={API_KEY_HEADER: stand.token}).status_code == 200, path
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 401


def test_no_warning_where_https_is_before_it_or_nobody_else_comes(
    settings: Settings, start_panel: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "kodosumi_prefect"):
        start_panel(settings)
        behind = {"host": "0.0.0.0", "panel_url": "https://agents.example.org"}
        start_panel(settings.model_copy(update=behind))
    assert not any("plain http" in message for message in caplog.messages)


def test_behind_panel_url_its_own_pages_work_under_that_name(
    settings: Settings, start_panel: Start
) -> None:
    url = {"panel_url": "https://agents.example.org"}
    stand = start_panel(settings.model_copy(update=url))
    own = {"Origin": "https://agents.example.org"}
    assert stand.client.post("/keys", json={"name": "k"}, headers=own).status_code == 201
    host = {"Host": "agents.example.org"}
    assert stand.connect().get("/livez", headers=host).status_code == 200
    assert stand.connect().get("/livez", headers={"Host": "evil.example"}).status_code == 421
