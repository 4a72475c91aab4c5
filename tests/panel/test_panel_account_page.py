"""One's own account as a page: password, API keys, theme; and the page to sign in at."""

import html
import re
from collections.abc import Callable

import httpx
import pytest

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER, THEME_COOKIE
from tests.panel.panel_runs import Stand
from tests.panel.test_panel_accounts import HTML, PASSWORD, member, signed_in, whoami
from tests.panel.test_panel_pages import ATTACK

PART = {"HX-Request": "true"}
NEW = "another long one"


def made_key(text: str) -> str:
    """The key that a page shows once."""
    found = re.search(r'id="secret" value="(kp_[^"]+)"', text)
    assert found, text
    return found[1]


def test_the_page_says_who_one_is(panel: Stand) -> None:
    mira = panel.person("Mira the member")
    text = mira.client.get("/account").text
    assert "Mira the member" in text and "Member: sees own executions" in text
    assert "Operator: sees" in panel.get("/account").text


def test_a_new_password_counts_and_other_sessions_end(fresh_panel: Stand) -> None:
    id = member(fresh_panel)
    here, there = signed_in(fresh_panel), signed_in(fresh_panel)
    answer = here.post("/account/password", data={"old": PASSWORD, "new": NEW}, headers=PART)
    assert answer.status_code == 200 and "Password changed" in answer.text
    assert "<html" not in answer.text
    assert whoami(here, id) == 200 and whoami(there, id) == 401
    assert whoami(signed_in(fresh_panel, password=NEW), id) == 200


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("wrong, not it", NEW, "The old password is wrong."),
        (PASSWORD, "short", "A password has 8 to 1024 characters."),
        (PASSWORD, "", "A password has 8 to 1024 characters."),
        (PASSWORD, "x" * 10_001, "A password has at most 1024 characters."),
    ],
)
def test_a_password_that_is_refused_says_why_at_its_field(
    fresh_panel: Stand, old: str, new: str, said: str
) -> None:
    id = member(fresh_panel)
    client = signed_in(fresh_panel)
    answer = client.post("/account/password", data={"old": old, "new": new}, headers=PART)
    assert answer.status_code == 422 and said in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert new not in answer.text or not new
    assert whoami(signed_in(fresh_panel), id) == 200


def test_a_key_is_shown_once_and_opens_the_api_until_it_is_revoked(panel: Stand) -> None:
    person = panel.person("Keeper of keys")
    answer = person.client.post("/account/keys", data={"name": "CI", "days": "30"}, headers=PART)
    assert answer.status_code == 200
    key = made_key(answer.text)
    shown = person.client.get("/account").text
    assert key not in shown and key[:11] in shown and "CI" in shown
    with panel.connect() as program:
        program.headers[API_KEY_HEADER] = key
        assert program.get("/keys").status_code == 200
    id = person.client.get("/keys").json()[0]["id"]
    revoked = person.client.post(f"/account/keys/{id}/revoke", headers=PART)
    assert "The key is revoked." in revoked.text and "No API keys yet" in revoked.text
    again = person.client.post(f"/account/keys/{id}/revoke", headers=PART)
    assert "revoked already" in again.text


def test_a_key_of_somebody_else_is_not_revoked_here(panel: Stand) -> None:
    owner = panel.person("Owner of a key")
    owner.client.post("/account/keys", data={"name": "mine", "days": "never"})
    [key] = owner.client.get("/keys").json()
    assert key["expires_at"] is None
    panel.client.post(f"/account/keys/{key['id']}/revoke")
    assert len(owner.client.get("/keys").json()) == 1


@pytest.mark.parametrize(
    ("name", "days", "said"),
    [
        ("", "30", "A name has 1 to 200 characters."),
        ("x" * 201, "30", "A name has 1 to 200 characters."),
        ("fine", "99999", "Choose up to 3650 days."),
        ("fine", "soon", "Choose up to 3650 days."),
        ("bell\x07", "30", "use visible characters"),
    ],
)
def test_a_key_that_is_refused_keeps_what_was_typed(
    panel: Stand, name: str, days: str, said: str
) -> None:
    answer = panel.client.post("/account/keys", data={"name": name, "days": days}, headers=PART)
    assert answer.status_code == 422 and said in answer.text
    assert f'name="name" type="text" value="{name}"' in answer.text
    assert 'id="secret"' not in answer.text


def test_a_key_makes_no_other(panel: Stand) -> None:
    person = panel.person("Chain maker")
    key = made_key(person.client.post("/account/keys", data={"name": "one"}).text)
    with panel.connect(key) as program:
        answer = program.post("/account/keys", data={"name": "two"}, headers=PART)
    assert answer.status_code == 422 and "An API key cannot create others; sign in." in answer.text


def test_the_name_of_a_key_stays_text(panel: Stand) -> None:
    person = panel.person("Breaker of pages")
    text = person.client.post("/account/keys", data={"name": ATTACK}).text
    assert "<script>alert" not in text and "<img" not in text
    assert html.escape(ATTACK, quote=False)[:20] in text


def test_forms_work_without_script(panel: Stand) -> None:
    text = panel.client.post("/account/keys", data={"name": "by hand"}, headers=HTML).text
    assert "<html" in text and made_key(text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_theme_is_kept_in_a_cookie(panel: Stand, theme: str) -> None:
    with panel.connect(panel.token) as client:
        answer = client.post("/account/theme", data={"theme": theme})
        assert answer.status_code == 303 and answer.headers["location"] == "/account"
        cookie = answer.headers["set-cookie"].lower()
        assert f"{THEME_COOKIE}={theme}" in cookie
        assert "samesite=lax" in cookie and "path=/" in cookie and "max-age=31536000" in cookie
        text = client.get("/account").text
        assert f'data-theme="{theme}"' in text
        assert f'value="{theme}" aria-pressed="true"' in text
        client.post("/account/theme", data={"theme": ""})
        assert "data-theme" not in client.get("/account").text


def test_a_theme_that_is_none_is_not_kept(panel: Stand) -> None:
    with panel.connect(panel.token) as client:
        client.post("/account/theme", data={"theme": '"><script>'})
        assert THEME_COOKIE not in client.cookies


def test_behind_a_proxy_the_page_says_who_keeps_passwords(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    behind = {"auth": "proxy", "proxy_header": "X-User", "proxy_networks": ["127.0.0.0/8"]}
    stand = start_panel(settings.model_copy(update=behind), signed_in=False)
    person = httpx.Client(base_url=stand.url, headers={"X-User": "Mira"}, trust_env=False)
    with person:
        text = person.get("/account").text
        assert "your password is managed there" in text and 'name="old"' not in text
        assert person.post("/account/password", data={"old": "", "new": NEW}).status_code == 403


def test_a_failed_sign_in_keeps_the_name(panel: Stand) -> None:
    with panel.connect() as client:
        given = {"name": '"Mira"', "password": "wrong, wrong"}
        answer = client.post("/login", data=given, headers=HTML)
    assert answer.status_code == 401 and "Name or password is wrong." in answer.text
    assert 'value="&#34;Mira&#34;"' in answer.text and "wrong, wrong" not in answer.text


@pytest.mark.parametrize("path", ["/account", "/users", "/system"])
def test_pages_are_for_people_who_are_signed_in(panel: Stand, path: str) -> None:
    with panel.connect() as client:
        answer = client.get(path, headers=HTML)
    assert answer.status_code == 303 and "/login" in answer.headers["location"]
