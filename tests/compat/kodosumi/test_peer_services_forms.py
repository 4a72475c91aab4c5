"""What handlers of strangers' services get and answer, mounted in the panel; nothing is run."""

import ast
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.panel.services.register.address import of_mounted
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.compat.kodosumi.moving import SERVICES, moved_to
from tests.panel.panel_runs import Stand, serving

FULL = {
    "text": "abc",
    "password": "abc",
    "number": "3",
    "area": "l1\nl2",
    "date": "2024-02-03",
    "time": "02:03",
    "moment": "2024-02-03T04:05",
    "select": "one",
    "action": "act",
}
EMPTY = dict.fromkeys(FULL, "") | {"text": "abc", "select": "two", "action": None}


@pytest.fixture(scope="module")
def stand(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A panel that serves all seven itself."""
    folder = moved_to(tmp_path_factory.mktemp("mounted_peers"))
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_moved_services TEMPLATE template_kodosumi")
    settings = Settings(
        database_url=SecretStr(make_conninfo(postgres.url, dbname="of_moved_services")),
        data_dir=tmp_path_factory.mktemp("moved_data"),
        services=[f"{name}:app" for name in SERVICES],
    )
    sys.path.insert(0, str(folder))
    try:
        with serving(settings) as panel:
            yield panel
    finally:
        sys.path.remove(str(folder))
        for name in {"company_news", *SERVICES}:
            sys.modules.pop(name, None)


def url(service: str, path: str = "") -> str:
    return f"{of_mounted(f'{service}:app')}/-/{path}"


def seen(stand: Stand, **options: Any) -> dict[str, Any]:
    """The inputs that the questionnaire's handler got."""
    answer = stand.client.post(url("questionnaire"), **options)
    assert answer.status_code == 200, answer.text
    return dict(ast.literal_eval(answer.json()["errors"]["text"][0]))


def test_all_seven_are_mounted_and_listed(stand: Stand):
    items = stand.json("/flow", params={"pp": 100})["items"]
    assert {item["url"] for item in items} >= {url(service) for service in SERVICES}
    summaries = {item["summary"] for item in items}
    assert summaries >= {"News Search", "By GET", "By POST", "A page", "Changed", "Chatter's page"}
    assert "Not listed" not in summaries


def test_every_element_is_described_as_kodosumi_does(stand: Stand):
    elements = stand.json(url("questionnaire"))["elements"]
    assert [element["type"] for element in elements] == [
        *("markdown", "html", "hr", "break", "errors", "text", "password", "number", "textarea"),
        *("date", "time", "datetime-local", "boolean", "select", "action", "submit", "cancel"),
    ]
    text = {"type": "text", "name": "text", "label": "Text", "value": "v", "required": False}
    assert elements[5] == text | {"placeholder": "p", "size": 3, "pattern": "[a-z]*"}
    check = {"type": "boolean", "name": "check", "label": "Check", "value": True}
    assert elements[12] == check | {"option": "Option"}
    options = [{"name": o["name"], "label": o["label"]} for o in elements[13]["option"]]
    assert options == [{"name": "one", "label": "One"}, {"name": "two", "label": "Two"}]
    assert elements[14] == {"type": "action", "name": "action", "value": "act", "text": "Act"}


@pytest.mark.parametrize("how", ["json", "data"])
def test_handlers_get_strings_as_they_were_posted(stand: Stand, how: str):
    full = FULL | {"check": "on"}
    assert seen(stand, **{how: full}) == FULL | {"check": True, "_global_": None}
    posted = {name: value for name, value in EMPTY.items() if value is not None}
    assert seen(stand, **{how: posted}) == EMPTY | {"check": False, "_global_": None}


def test_json_needs_no_content_type_of_its_own(stand: Stand):
    content = b'{"text": "abc", "number": "3"}'
    for type_ in ("text/plain", "application/x-www-form-urlencoded"):
        got = seen(stand, content=content, headers={"content-type": type_})
        assert (got["text"], got["number"], got["date"]) == ("abc", "3", None)


@pytest.mark.parametrize(
    ("way", "errors"),
    [
        ("text", {"_global_": ["general text"]}),
        ("both", {"_global_": ["general"], "a": ["of a field"]}),
        ("add", {"a": ["first", "second"], "way": ["third"], "_global_": []}),
        ("flash", {"_global_": ["flashed", "again"]}),
    ],
)
def test_inputs_errors_are_answered_with_the_form(stand: Stand, way: str, errors: Any):
    answer = stand.client.post(url("catalogue", "raises"), json={"way": way, "a": "typed"})
    assert answer.status_code == 200 and answer.json()["errors"] == errors
    assert [element["type"] for element in answer.json()["elements"]] == ["errors", "text", "text"]


def test_handlers_take_what_they_name(stand: Stand):
    answer = stand.client.post(url("catalogue", "inputs"), json={"what": "x", "how": ""})
    assert answer.json()["errors"]["what"] == ["'x'"]


def test_endpoints_may_answer_anything(stand: Stand):
    got = stand.client.put(url("catalogue", "put"), json={"a": 1})
    assert (got.status_code, got.json()) == (202, {"a": 1})
    assert stand.get(url("catalogue", "lines")).text == "line 0\nline 1\nline 2\n"
    assert stand.get(url("catalogue", "page")).text == "<p>page</p>"
    assert stand.get(url("chatter", "page")).text.strip() == "<p>Hello you</p>"
    assert stand.get(url("catalogue", "health")).status_code == 404
