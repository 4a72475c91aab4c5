"""Accounts as pages, for operators."""

import re

import pytest

from tests.panel.panel_runs import Person, Stand
from tests.panel.test_panel_account_page import PART
from tests.panel.test_panel_accounts import HTML, PASSWORD, signed_in, whoami
from tests.panel.test_panel_pages import ATTACK

RIGHTS = {"active": "true", "operator": "true"}


@pytest.fixture
def mira(fresh_panel: Stand) -> Person:
    return fresh_panel.person("Mira")


def role(panel: Stand, id: str) -> dict[str, object]:
    found: dict[str, object] = panel.json(f"/role/{id}")
    return found


def test_others_see_a_page_that_says_no(panel: Stand) -> None:
    person = panel.person("Not an operator")
    for path in ("/users", f"/users/{person.id}"):
        answer = person.client.get(path, headers=HTML)
        assert answer.status_code == 403 and "only operators may do this" in answer.text
        assert "<html" in answer.text
    for path in ("/users", f"/users/{person.id}", f"/users/{person.id}/delete"):
        assert person.client.post(path, data={"name": "x", **RIGHTS}).status_code == 403
    assert role(panel, person.id)["operator"] is False


def test_the_list_tells_role_and_state(fresh_panel: Stand, mira: Person) -> None:
    fresh_panel.client.put(f"/role/{mira.id}", json={"active": False})
    text = fresh_panel.get("/users").text
    row = text.partition(f'id="user-{mira.id}"')[2].partition("</tr>")[0]
    assert "Mira" in row and "Member" in row and "disabled" in row and ">unknown<" in row


def test_a_run_tells_when_somebody_was_seen(fresh_panel: Stand, mira: Person) -> None:
    fresh_panel.run(owner=mira.id).begin()
    text = fresh_panel.get("/users").text
    row = text.partition(f'id="user-{mira.id}"')[2].partition("</tr>")[0]
    assert "<time" in row and ">unknown<" not in row


def test_a_generated_password_is_shown_once_and_lets_in(fresh_panel: Stand) -> None:
    given = {"name": "Ada", "email": "ada@example.org", "generate": "true"}
    answer = fresh_panel.client.post("/users", data=given, headers=PART)
    assert answer.status_code == 200
    found = re.search(r'id="secret" value="([^"]+)"', answer.text)
    assert found and found[1] not in fresh_panel.get("/users").text
    client = signed_in(fresh_panel, "Ada", found[1])
    assert client.get("/role/Ada").json()["email"] == "ada@example.org"


def test_an_operator_with_a_chosen_password_is_added(fresh_panel: Stand) -> None:
    given = {"name": "Ada", "password": PASSWORD, "operator": "true"}
    answer = fresh_panel.client.post("/users", data=given, headers=PART)
    assert "“Ada” is added." in answer.text and PASSWORD not in answer.text
    assert signed_in(fresh_panel, "Ada").get("/users").status_code == 200


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "A name has 1 to 200 characters."),
        ({"name": "mira"}, "The name &#39;mira&#39; is taken."),
        ({"name": "a/b"}, "A name has only visible"),
        ({"name": "Ada", "email": "nowhere"}, "This is not an email address."),
        ({"name": "Ada", "password": "short"}, "A password has 8 to 1024 characters."),
        ({"name": "Ada", "password": ""}, "A password has 8 to 1024 characters."),
    ],
)
def test_what_is_refused_is_said_in_place_and_kept(
    fresh_panel: Stand, mira: Person, given: dict[str, str], said: str
) -> None:
    answer = fresh_panel.client.post(
        "/users", data={"password": PASSWORD, "operator": "true"} | given, headers=PART
    )
    assert answer.status_code == 422 and said in answer.text
    assert f'type="text" value="{given["name"]}"' in answer.text
    assert 'name="operator" value="true" checked' in answer.text
    assert PASSWORD not in answer.text
    assert len(fresh_panel.json("/role")) == 2


def test_an_account_is_renamed_raised_and_disabled(fresh_panel: Stand, mira: Person) -> None:
    path = f"/users/{mira.id}"
    given = {"name": "Mirabel", "email": "m@example.org", **RIGHTS}
    assert "Saved." in fresh_panel.client.post(path, data=given, headers=PART).text
    assert role(fresh_panel, mira.id) == {
        "id": mira.id,
        "name": "Mirabel",
        "email": "m@example.org",
        "active": True,
        "operator": True,
    }
    fresh_panel.client.post(path, data={"name": "Mirabel"}, headers=PART)
    found = role(fresh_panel, mira.id)
    assert (found["email"], found["active"], found["operator"]) == (None, False, False)
    assert whoami(mira.client, mira.id) == 401


@pytest.mark.parametrize("rights", [{"active": "true"}, {"operator": "true"}, None])
def test_the_last_operator_stays(fresh_panel: Stand, rights: dict[str, str] | None) -> None:
    [last] = fresh_panel.json("/role")
    path = f"/users/{last['id']}" + ("/delete" if rights is None else "")
    data = {"name": last["name"]} | (rights or {})
    answer = fresh_panel.client.post(path, data=data, headers=PART)
    assert answer.status_code == 422
    assert (
        "This is the last active operator; make another account an operator first." in answer.text
    )
    assert fresh_panel.json("/role") == [last]


def test_a_password_is_set_and_ends_sessions(fresh_panel: Stand, mira: Person) -> None:
    path = f"/users/{mira.id}/password"
    short = fresh_panel.client.post(path, data={"password": "short"}, headers=PART)
    assert short.status_code == 422 and "8 to 1024 characters" in short.text
    assert whoami(mira.client, mira.id) == 200
    fresh_panel.client.post(path, data={"password": PASSWORD}, headers=PART)
    assert whoami(mira.client, mira.id) == 401
    assert whoami(signed_in(fresh_panel), mira.id) == 200
    made = fresh_panel.client.post(path, data={"generate": "true"}, headers=PART).text
    found = re.search(r'id="secret" value="([^"]+)"', made)
    assert found and whoami(signed_in(fresh_panel, password=found[1]), mira.id) == 200


def test_ones_own_password_needs_the_old_one(fresh_panel: Stand) -> None:
    [own] = fresh_panel.json("/role")
    assert "your account page" in fresh_panel.get(f"/users/{own['id']}").text
    answer = fresh_panel.client.post(f"/users/{own['id']}/password", data={"password": PASSWORD})
    assert answer.status_code == 403


def test_a_deleted_account_is_gone(fresh_panel: Stand, mira: Person) -> None:
    path = f"/users/{mira.id}"
    answer = fresh_panel.client.post(f"{path}/delete", headers=PART)
    assert answer.headers["hx-redirect"] == "/users"
    gone = fresh_panel.get(path, headers=HTML)
    assert gone.status_code == 404 and "there is no account" in gone.text
    assert fresh_panel.client.post(f"{path}/delete", headers=PART).status_code == 404


def test_names_stay_text(fresh_panel: Stand) -> None:
    name = ATTACK.replace("/", "|")
    answer = fresh_panel.client.post("/users", data={"name": name, "generate": "true"})
    id = next(one["id"] for one in fresh_panel.json("/role") if one["name"] == name)
    for text in (answer.text, fresh_panel.get(f"/users/{id}").text):
        assert "<script>alert" not in text and "<img" not in text and "alert(1)" in text
