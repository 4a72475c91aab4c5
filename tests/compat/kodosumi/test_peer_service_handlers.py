"""What handlers of a Kodosumi service get, and what is told of those that raise."""

import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.events import serialize
from kodosumi_prefect.panel.services.register.address import of_mounted
from kodosumi_prefect.settings import Settings, reset_settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.panel.panel_runs import Person, Stand, serving

SERVICE = "tests.samples.peer_service:app"
BASE = of_mounted(SERVICE)
EMPTY = {"_global_": None, "day": None, "at": None, "kind": None, "loud": False, "do": None}
NOTHING = EMPTY | {"name": None, "count": None, "code": None}
TYPED = {"name": "Ada <3", "count": "3", "day": "2026-01-31", "kind": "b", "loud": "on"}
LOGGED = re.compile(r"error ([0-9a-f]{12})")


@pytest.fixture(scope="module")
def stand(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_peer_service TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname="of_peer_service"))
    folder = tmp_path_factory.mktemp("peer_service")
    with serving(Settings(database_url=url, data_dir=folder, services=[SERVICE])) as panel:
        yield panel


@pytest.fixture(scope="module")
def person(stand: Stand) -> Person:
    return stand.person("ann")


def echoed(stand: Stand, **options: Any) -> Any:
    """The inputs that the handler got."""
    answer = stand.client.post(f"{BASE}/-/", **options)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["errors"]["_global_"][0])


def lock(stand: Stand, name: str) -> str:
    """A question of a run that the service launched: ``fid/lid``."""
    run = stand.run(app_url=BASE).begin(topic="x")
    lid = str(uuid4())
    told = {"name": name, "lid": lid, "data": {"draft": 1}, "expires": time.time() + 60}
    run.say("lock", serialize(told))
    return f"{run.fid}/{lid}"


def uid(stand: Stand, summary: str) -> str:
    items = stand.json("/flow", params={"pp": 100})["items"]
    return str(next(item["uid"] for item in items if item["summary"] == summary))


@pytest.mark.parametrize("how", ["data", "json"])
def test_a_handler_gets_what_a_browser_posts(stand: Stand, how: str) -> None:
    posted = {
        "name": "Ada",
        "count": "3",
        "day": "2026-01-31",
        "at": "10:00",
        "kind": "b",
        "loud": "on",
        "do": "it",
        "code": "s3cret-code",
        "unknown": "as well",
    }
    assert echoed(stand, **{how: posted}) == {"_global_": None} | posted | {"loud": True}
    empty = {"name": "Ada", "count": "", "day": "", "at": "", "kind": "", "code": ""}
    got = echoed(stand, **{how: empty})
    assert got == NOTHING | empty


def test_a_handler_gets_what_a_program_posts(stand: Stand) -> None:
    posted = {"name": "Ada", "count": 3, "loud": True, "unknown": [1, {"a": None}]}
    assert echoed(stand, json=posted) == NOTHING | posted
    assert echoed(stand, json={"name": "Ada", "count": 2.5}) == NOTHING | {
        "name": "Ada",
        "count": 2.5,
    }


def test_what_does_not_fit_is_refused_before_the_handler(stand: Stand) -> None:
    posted = {"count": "0", "day": "31.1.", "kind": "c"}
    errors = stand.client.post(f"{BASE}/-/", json=posted).json()["errors"]
    assert set(errors) == {"name", "count", "day", "kind", "_global_"}
    assert errors["_global_"] == []


def test_a_page_hands_on_what_was_typed(stand: Stand) -> None:
    where = f"/services/{uid(stand, 'Echo')}"
    page = stand.client.post(where, data={f"field.{k}": v for k, v in TYPED.items()})
    told = re.search(r"\{&#34;_global_&#34;.*?\}", page.text)
    assert told is not None, page.text
    got = json.loads(told[0].replace("&#34;", '"').replace("&lt;", "<"))
    assert got == EMPTY | TYPED | {"loud": True, "code": None}


def test_lease_functions_and_locks_without_one_get_all_that_was_posted(stand: Stand) -> None:
    posted = {"stars": "3", "why": "", "unasked": "yes"}
    answer = stand.client.post(f"/lock/{lock(stand, 'review')}", json=posted)
    assert answer.json()["result"] == {"told": posted}
    answer = stand.client.post(f"/lock/{lock(stand, 'plain')}", json=posted)
    assert answer.json()["result"] == posted


def test_what_a_handler_raises_is_told_to_operators_only(
    stand: Stand, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    for client, told in ((stand.client, True), (person.client, False)):
        with caplog.at_level(logging.ERROR):
            answer = client.post(f"{BASE}/-/boom", json={"name": "Ada"})
        assert answer.status_code == 500
        detail = answer.json()["detail"]
        assert ("RuntimeError: no credit left" in detail) is told
        assert ("credit" in answer.text) is told
        number = LOGGED.search(detail)
        assert number is not None
        [line] = [r.getMessage() for r in caplog.records if number[1] in r.getMessage()]
        assert line.endswith("RuntimeError: no credit left") and "Traceback" in line


def test_what_a_lock_function_raises_is_told_to_operators_only(stand: Stand) -> None:
    where = lock(stand, "boom")
    answer = stand.get(f"/lock/{where}")
    assert answer.status_code >= 500
    assert "RuntimeError: no form left" in answer.json()["detail"]
    where = lock(stand, "review")
    answer = stand.client.post(f"/lock/{where}", json={"stars": "1", "why": "boom"})
    assert answer.status_code >= 500
    assert "RuntimeError: no credit left" in answer.json()["detail"]


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["plain", "htmx"])
def test_a_page_keeps_what_was_typed_for_a_handler_that_raises(
    stand: Stand, person: Person, headers: dict[str, str]
) -> None:
    where = f"/services/{uid(stand, 'Boom')}"
    fields = {f"field.{name}": value for name, value in TYPED.items()}
    for client, told in ((stand.client, True), (person.client, False)):
        page = client.post(where, data=fields, headers=headers)
        assert ("no credit left" in page.text) is told
        assert LOGGED.search(page.text)
        if headers:  # the message alone is put in
            assert page.headers["hx-retarget"] == "#trouble"
            continue
        assert 'value="Ada &lt;3"' in page.text and 'value="2026-01-31"' in page.text
        assert '<option value="b" selected>' in page.text


def test_a_page_keeps_what_was_typed_for_a_lease_function_that_raises(stand: Stand) -> None:
    where = f"/waiting/{lock(stand, 'review')}"
    fields = {"field.stars": "4", "field.why": "boom"}
    page = stand.client.post(where, data=fields)
    assert page.status_code >= 500
    assert "RuntimeError: no credit left" in page.text
    assert 'value="4"' in page.text and 'value="boom"' in page.text
    part = stand.client.post(where, data=fields, headers={"HX-Request": "true"})
    assert "hx-retarget" in part.headers and "RuntimeError: no credit left" in part.text


@pytest.fixture
def settings_of_panel(stand: Stand) -> Iterator[None]:
    """In the process of `up`, its services have the panel's settings."""
    reset_settings(stand.settings)
    yield
    reset_settings()


@pytest.mark.usefixtures("settings_of_panel")
def test_files_that_were_never_uploaded_are_refused_at_their_field(stand: Stand) -> None:
    where = f"{BASE}/-/upload"
    id_ = str(uuid4())
    batch = {"batchId": id_, "items": {id_: {"filename": "a.pdf", "totalChunks": 1}}}
    for value in (json.dumps(batch), batch):
        answer = stand.client.post(where, json={"title": "x", "papers": value})
        [message] = answer.json()["errors"]["papers"]
        assert "are not here" in message
    answer = stand.client.post(where, data={"title": "x"}, files={"papers": ("a.pdf", b"x")})
    assert answer.status_code == 400 and "before the form" in answer.json()["detail"]
    answer = stand.client.post(where, json={"title": "x", "papers": ""})
    assert json.loads(answer.json()["errors"]["_global_"][0]) == {"title": "x", "papers": None}
