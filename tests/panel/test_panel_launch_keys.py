"""Launches with an ``Idempotency-Key``: what is asked for again is launched once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import prefect
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import temporary_settings
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.client import Client, Endpoint, FieldsError, InvalidError
from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.panel.services import launch_keys
from kodosumi_prefect.settings import PREFIX, Settings, use_settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.http_services import served_app
from tests.panel.cutting_proxy import cutting_proxy
from tests.panel.faulty_services import Faulty, document
from tests.panel.panel_runs import Stand, serving, until
from tests.services import in_force, record_prefect

MODULE = """
import asyncio
import threading
from kodosumi_prefect.core import Launch, ServeAPI, forms as F

app = ServeAPI(title="Keyed")
form = F.Model(F.InputText("name", "Name", required=True), F.InputPassword("code"))
asked = []
holding = threading.Event()
faulty = set()

withheld = set()

class Withholding:
    "Keeps the answers to launches by these paths to itself."

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def kept(message):
            await asyncio.sleep(3600)

        kept_back = scope["type"] == "http" and scope["path"] in withheld
        await self.app(scope, receive, kept if kept_back else send)

app.add_middleware(Withholding)

def work(inputs): ...

@app.enter("/greet", model=form, summary="Greet by key")
def greet(inputs, request):
    asked.append(inputs["name"])
    if inputs["name"] == "held":
        holding.wait(20)
    if inputs["name"] in faulty:
        raise ValueError("no")
    return Launch(request, "keyed_service:work", inputs=inputs)

@app.enter("/part", model=form, summary="Part by key")
def part(inputs, request):
    return Launch(request, "keyed_service:work", inputs=inputs)

@app.enter("/both", model=form, summary="Two by key")
async def both(inputs, request):
    from kodosumi_prefect.vocabulary import ENDPOINT_SCOPE
    first = Launch(request, "keyed_service:work", inputs={"name": inputs["name"] + " first"})
    await first.go(request.scope[ENDPOINT_SCOPE])
    return Launch(request, "keyed_service:work", inputs=inputs)
"""
GREET = "/-/panel/0/keyed_service:app/-/greet"
PART = "/-/panel/0/keyed_service:app/-/part"
BOTH = "/-/panel/0/keyed_service:app/-/both"
DEPLOYED = "/-/prefect/0/-/greets-by-key/keyed"
SCHEDULE = {"x-kodosumi-schedule": json.dumps({"cron": "0 6 * * 1", "timezone": "UTC"})}


@prefect.flow(name="greets-by-key")
def greets(name: str, times: int = 1) -> None: ...


@pytest.fixture(scope="module")
def stand(
    prefect_server: str, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A panel with a mounted service, and a deployment of a Prefect that runs."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_launch_keys TEMPLATE template_kodosumi")
    folder = tmp_path_factory.mktemp("launch_keys")
    (folder / "keyed_service.py").write_text(MODULE)
    used = Settings(
        database_url=SecretStr(make_conninfo(postgres.url, dbname="of_launch_keys")),
        data_dir=tmp_path_factory.mktemp("data"),
        services=["keyed_service:app"],
        launch_work_pool="keys",
        register_work_pools=["keys"],
        register_interval=0.2,
        service_timeout=20,
    )
    record_prefect(used, prefect_server)
    sys.path.insert(0, str(folder))
    settings_module.reset_settings(used)
    try:
        with (
            use_settings(used),
            temporary_settings(in_force(prefect_server)),
            get_client(sync_client=True) as client,
        ):
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(WorkPoolCreate(name="keys", type="kodosumi-ray"))
            deployment = greets.to_deployment(name="keyed", work_pool_name="keys")
            deployment.entrypoint = "x.py:greets"
            made = deployment.apply()
            with serving(used) as panel:
                until(lambda: len(panel.json("/flow")["items"]) == 4)
                yield panel
            with suppress(Exception):
                client.delete_deployment(made)
    finally:
        settings_module.reset_settings()
        sys.path.remove(str(folder))
        sys.modules.pop("keyed_service", None)


@pytest.fixture(autouse=True)
def in_place(stand: Stand, prefect_server: str) -> Iterator[None]:
    with temporary_settings(in_force(prefect_server)), use_settings(stand.settings):
        yield


def post(
    client: httpx.Client, path: str, key: str | None, body: Any, **headers: str
) -> httpx.Response:
    keyed = {"Idempotency-Key": key} if key is not None else {}
    return client.post(path, json=body, headers=keyed | headers)


def fid_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.headers["kodosumi_launch"] == answer.json()["result"]
    return str(answer.json()["result"])


def rows(stand: Stand, query: str, *values: Any) -> list[dict[str, Any]]:
    with psycopg.connect(stand.database, row_factory=dict_row, autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def runs_named(name: str) -> list[str]:
    """The flow runs that Prefect has with an input of this name."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=200)
    found = []
    for run in runs:
        inputs = run.parameters.get("inputs") or run.parameters
        if isinstance(inputs, dict) and inputs.get("name") == name:
            found.append(str(run.id))
    return found


def audited(stand: Stand, target: str) -> list[str]:
    found = rows(stand, "SELECT action FROM kodosumi.audit WHERE target_id = %s", target)
    return [row["action"] for row in found]


def lose(stand: Stand, key: str) -> None:
    """What a panel leaves that was killed before it noted the answer, once its claim ran out."""
    rows(
        stand,
        "UPDATE kodosumi.launch_key SET answer = NULL, claimed_until = now() - interval '1 s'"
        " WHERE key = %s",
        key,
    )


@pytest.mark.parametrize("path", [GREET, DEPLOYED])
def test_of_twenty_requests_at_once_with_one_key_one_launches(stand: Stand, path: str) -> None:
    key, name = str(uuid4()), f"twenty {uuid4()}"
    together = threading.Barrier(20)

    def ask(_: int) -> httpx.Response:
        together.wait()
        return post(stand.client, path, key, {"name": name})

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(20)))
    [fid] = {fid_of(answer) for answer in answers}
    assert runs_named(name) == [fid]
    assert len({answer.content for answer in answers}) == 1
    assert sum("kodosumi_repeated" in answer.headers for answer in answers) == 19
    assert audited(stand, fid) == ["launch"]


def test_the_client_launches_once_though_its_answers_are_lost(stand: Stand) -> None:
    for path in (GREET, DEPLOYED):
        name = f"lost {uuid4()}"
        with cutting_proxy(stand.url) as proxy, Client(proxy.url, key=stand.token) as client:
            proxy.budget, proxy.growth = 20, 200
            fid = client.launch(path, {"name": name})
            assert proxy.connections > 2
            assert runs_named(name) == [fid]
            assert client.launch(path, {"name": name}, key="mine") == client.launch(
                path, {"name": name}, key="mine"
            )
            with pytest.raises(InvalidError, match="another body"):
                client.launch(path, {"name": "another"}, key="mine")
            with pytest.raises(FieldsError, match="name: "):
                client.launch(path, {"name": ""})
    assert [one.url for one in client_endpoints(stand) if one.url == GREET] == [GREET]


def client_endpoints(stand: Stand) -> list[Endpoint]:
    with Client(stand.url, key=stand.token) as client:
        return list(client.endpoints("by key"))


def test_without_a_key_each_request_launches(stand: Stand) -> None:
    body = {"name": "without a key"}
    first, second = (fid_of(post(stand.client, GREET, None, body)) for _ in range(2))
    assert first != second


def test_a_key_is_its_owners_and_its_endpoints(stand: Stand) -> None:
    key, body = "shared key", {"name": "scoped"}
    mine = fid_of(post(stand.client, GREET, key, body))
    other = stand.person(f"other-{uuid4().hex[:8]}")
    theirs = fid_of(post(other.client, GREET, key, body))
    elsewhere = fid_of(post(stand.client, PART, key, body))
    assert len({mine, theirs, elsewhere}) == 3
    # Neither does it tell them what it stands for.
    assert fid_of(post(other.client, GREET, "next key", {"name": "their own"})) != mine
    assert fid_of(post(other.client, GREET, key, body)) == theirs


def test_the_same_fields_are_the_same_body_however_they_are_sent(stand: Stand) -> None:
    key = str(uuid4())
    first = post(stand.client, GREET, key, {"name": "fields", "code": "a"})
    headers = {"Idempotency-Key": key}
    fields = {"code": "a", "name": "fields"}
    again = stand.client.post(GREET, data=fields, headers=headers)
    parts: Any = [(name, (None, value)) for name, value in fields.items()]
    multipart = [stand.client.post(GREET, files=parts, headers=headers) for _ in range(2)]
    assert {fid_of(answer) for answer in (first, again, *multipart)} == {fid_of(first)}


def test_another_body_with_the_same_key_is_refused(stand: Stand) -> None:
    key = str(uuid4())
    fid = fid_of(post(stand.client, GREET, key, {"name": "one"}))
    for answer in (
        post(stand.client, GREET, key, {"name": "another"}),
        post(stand.client, f"{GREET}?more=1", key, {"name": "one"}),
        post(stand.client, GREET, key, {"name": "one"}, **SCHEDULE),
    ):
        assert answer.status_code == 422
        assert "another body" in answer.json()["detail"]
    assert fid_of(post(stand.client, GREET, key, {"name": "one"})) == fid
    assert not runs_named("another")


@pytest.mark.parametrize("path", [GREET, DEPLOYED])
def test_what_is_refused_leaves_its_key_free(stand: Stand, path: str) -> None:
    key, name = str(uuid4()), f"corrected {uuid4()}"
    assert post(stand.client, path, key, {"name": ""}).json()["errors"]["name"]
    wrong = {"x-kodosumi-schedule": "{}"}
    assert post(stand.client, path, key, {"name": name}, **wrong).status_code == 422
    assert runs_named(name) == []
    fid = fid_of(post(stand.client, path, key, {"name": name}))
    assert runs_named(name) == [fid]


def test_a_handler_that_raised_leaves_its_key_free(stand: Stand) -> None:
    service = sys.modules["keyed_service"]
    key, name = str(uuid4()), f"crashed {uuid4()}"
    service.faulty.add(name)
    assert post(stand.client, GREET, key, {"name": name}).status_code >= 500
    service.faulty.clear()
    fid = fid_of(post(stand.client, GREET, key, {"name": name}))
    assert runs_named(name) == [fid]

    key, name = str(uuid4()), f"crashed {uuid4()}"
    service.faulty.add(name)
    assert post(stand.client, GREET, key, {"name": name}).status_code >= 500
    other = f"instead {uuid4()}"
    assert runs_named(other) == []
    fid = fid_of(post(stand.client, GREET, key, {"name": other}))
    assert (runs_named(other), runs_named(name)) == ([fid], [])


def test_a_repeat_waits_for_the_first_and_not_for_ever(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_keys, "PATIENCE", 0.3)
    service = sys.modules["keyed_service"]
    service.holding.clear()
    key, before = str(uuid4()), len(service.asked)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(post, stand.client, GREET, key, {"name": "held"})
        until(lambda: len(service.asked) > before)
        late = post(stand.client, GREET, key, {"name": "held"})
        assert late.status_code == 409 and "under way" in late.json()["detail"]
        assert int(late.headers["retry-after"]) >= 1
        other = post(stand.client, GREET, key, {"name": "other"})
        assert other.status_code == 422
        monkeypatch.setattr(launch_keys, "PATIENCE", 20)
        waiting = threads.submit(post, stand.client, GREET, key, {"name": "held"})
        service.holding.set()
        assert fid_of(first.result()) == fid_of(waiting.result())
    assert len(service.asked) == before + 1


def test_a_client_that_hung_up_finds_its_launch(stand: Stand) -> None:
    service = sys.modules["keyed_service"]
    service.holding.clear()
    key, before = str(uuid4()), len(service.asked)
    headers = {"Idempotency-Key": key}
    with pytest.raises(httpx.ReadTimeout):
        stand.client.post(GREET, json={"name": "held"}, headers=headers, timeout=1)
    until(lambda: len(service.asked) > before)
    service.holding.set()
    answer = post(stand.client, GREET, key, {"name": "held"})
    fid = fid_of(answer)
    assert len(service.asked) == before + 1
    assert "kodosumi_repeated" in answer.headers
    assert audited(stand, fid) == ["launch"]


def launch_by_page(stand: Stand, name: str) -> httpx.Response:
    """The answer to the form of ``/part``, sent as a browser without scripts does."""
    [uid] = [item["uid"] for item in stand.json("/flow")["items"] if item["url"] == PART]
    return stand.client.post(f"/services/{uid}", data={"field.name": name})


def test_a_launch_whose_service_is_late_is_answered_by_its_run(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["keyed_service"], "withheld", {"/part"})

    def late(ask: Callable[[str], httpx.Response]) -> tuple[httpx.Response, str]:
        """The answer, once the panel was patient enough for the run to come into being."""
        for patience in (1.0, 4.0, 16.0):
            monkeypatch.setattr(stand.settings, "service_timeout", patience)
            name = f"late {uuid4()}"
            if (answer := ask(name)).status_code < 400 and runs_named(name):
                break
        return answer, name

    for keyed in (False, True):
        answer, name = late(
            lambda name, keyed=keyed: post(
                stand.client, PART, str(uuid4()) if keyed else None, {"name": name}
            )
        )
        assert runs_named(name) == [fid_of(answer)]
    shown, name = late(lambda name: launch_by_page(stand, name))
    [fid] = runs_named(name)
    assert shown.headers["location"] == f"/executions/{fid}"


def test_a_late_launch_without_a_run_says_so(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    service = sys.modules["keyed_service"]
    monkeypatch.setattr(stand.settings, "service_timeout", 1.0)
    service.holding.clear()
    said = "no run of it exists so far, and it may still begin"
    key = str(uuid4())
    try:
        for each in (None, key):
            late = post(stand.client, GREET, each, {"name": "held"})
            assert late.status_code == 504
            assert said in late.json()["detail"]
            assert ("begins once" in late.json()["detail"]) is (each is not None)
    finally:
        service.holding.set()
    monkeypatch.undo()
    assert fid_of(post(stand.client, GREET, key, {"name": "held"})) in runs_named("held")


@pytest.mark.parametrize("path", [GREET, DEPLOYED])
def test_a_launch_whose_answer_was_not_kept_is_found_in_prefect(stand: Stand, path: str) -> None:
    key, name = str(uuid4()), f"lost {uuid4()}"
    body = {"name": name, "code": "hidden-word"} if path == GREET else {"name": name}
    fid = fid_of(post(stand.client, path, key, body))
    lose(stand, key)
    assert fid_of(post(stand.client, path, key, body)) == fid
    lose(stand, key)
    assert post(stand.client, path, key, {"name": "other"}).status_code == 422
    assert fid_of(post(stand.client, path, key, body)) == fid
    assert runs_named(name) == [fid]


def test_a_service_that_is_asked_again_starts_no_other_run(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the first run had come into being just after the panel looked for it."""

    async def not_yet(*_: object) -> None:
        return None

    key, name = str(uuid4()), f"again {uuid4()}"
    body = {"name": name, "code": "hidden-word"}
    fid = fid_of(post(stand.client, GREET, key, body))
    monkeypatch.setattr(launch_keys, "run_of_launch", not_yet)
    lose(stand, key)
    asked = len(sys.modules["keyed_service"].asked)
    assert fid_of(post(stand.client, GREET, key, body)) == fid
    assert len(sys.modules["keyed_service"].asked) == asked + 1
    assert runs_named(name) == [fid]
    # The inputs that were stored for nothing are gone, those of the run are its own.
    [payload] = rows(stand, "SELECT id::text, fid::text FROM kodosumi.payload WHERE fid = %s", fid)
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(fid).parameters["launch"]["payload"] == payload["id"]


def test_a_handler_that_launches_twice_gets_two_runs_each_time_the_same(stand: Stand) -> None:
    key, name = str(uuid4()), f"two {uuid4()}"
    fid = fid_of(post(stand.client, BOTH, key, {"name": name}))
    [first] = runs_named(f"{name} first")
    assert first != fid
    assert runs_named(name) == [fid]
    lose(stand, key)
    assert fid_of(post(stand.client, BOTH, key, {"name": name})) == fid
    lose(stand, key)
    with get_client(sync_client=True) as client:
        client.delete_flow_run(fid)  # as if the panel had been killed between the two
    assert runs_named(name) == []
    last = fid_of(post(stand.client, BOTH, key, {"name": name}))
    assert (runs_named(name), runs_named(f"{name} first")) == ([last], [first])


@pytest.mark.parametrize("path", [GREET, DEPLOYED])
def test_a_schedule_is_made_once(stand: Stand, path: str) -> None:
    key, body = str(uuid4()), {"name": "scheduled"}
    before = {each["id"] for each in stand.json("/schedules")["items"]}
    made = post(stand.client, path, key, body, **SCHEDULE)
    id_ = made.json()["schedule"]
    assert made.headers["kodosumi_schedule"] == id_
    again = post(stand.client, path, key, body, **SCHEDULE)
    assert (again.json(), again.headers["kodosumi_repeated"]) == (made.json(), "true")
    assert audited(stand, id_) == ["schedule_create"]

    lose(stand, key)  # the answer
    assert post(stand.client, path, key, body, **SCHEDULE).json()["schedule"] == id_
    lose(stand, key)  # all that came after Prefect's part
    rows(stand, "DELETE FROM kodosumi.schedule WHERE id = %s", id_)
    assert post(stand.client, path, key, body, **SCHEDULE).json()["schedule"] == id_
    [schedule] = [one for one in stand.json("/schedules")["items"] if one["id"] not in before]
    assert schedule["id"] == id_ and schedule["active"] and schedule["username"]


def test_a_schedule_that_was_not_begun_is_begun_when_it_is_asked_for_again(stand: Stand) -> None:
    key, body = str(uuid4()), {"name": "scheduled"}
    id_ = post(stand.client, GREET, key, body, **SCHEDULE).json()["schedule"]
    assert stand.client.post(f"/schedules/{id_}/pause").is_success
    lose(stand, key)
    assert post(stand.client, GREET, key, body, **SCHEDULE).json()["schedule"] == id_
    [schedule] = [one for one in stand.json("/schedules")["items"] if one["id"] == id_]
    assert schedule["active"]


def test_a_key_is_remembered_for_a_day(stand: Stand) -> None:
    key, body = str(uuid4()), {"name": "a day"}
    fid = fid_of(post(stand.client, GREET, key, body))
    age = "UPDATE kodosumi.launch_key SET created_at = now() - %s::interval WHERE key = %s"
    rows(stand, age, "23 hours", key)
    assert fid_of(post(stand.client, GREET, key, body)) == fid
    rows(stand, age, "25 hours", key)
    other = fid_of(post(stand.client, GREET, key, {"name": "the next day"}))
    assert other != fid
    rows(stand, age, "25 hours", key)
    with Retention(stand.database, "kodosumi") as retention:
        retention.forget(26)
        assert rows(stand, "SELECT key FROM kodosumi.launch_key WHERE key = %s", key)
        retention.forget(24)
        assert not rows(stand, "SELECT key FROM kodosumi.launch_key WHERE key = %s", key)


def test_nothing_that_was_posted_is_kept_readable(stand: Stand) -> None:
    key = str(uuid4())
    fid = fid_of(post(stand.client, GREET, key, {"name": "Ann", "code": "hidden-word"}))
    [row] = rows(stand, "SELECT * FROM kodosumi.launch_key WHERE key = %s", key)
    text = repr(row)
    assert len(row["body"]) == 32
    assert "hidden-word" not in text and fid not in text and "Ann" not in text


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "ü"])
def test_a_key_that_is_none_is_refused(stand: Stand, key: str) -> None:
    headers = {"Idempotency-Key": key.encode()}
    answer = stand.client.post(GREET, json={"name": "bad key"}, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert "1 to 255 printable" in answer.json()["detail"]
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert stand.client.post(GREET, json={"name": "bad key"}, headers=twice).status_code == 422
    assert runs_named("bad key") == []


def test_a_key_opens_nothing_for_who_may_not_launch(stand: Stand) -> None:
    key, body = str(uuid4()), {"name": "mine"}
    fid_of(post(stand.client, GREET, key, body))
    assert post(stand.connect(), GREET, key, body).status_code == 401
    assert post(stand.client, GREET + "-not", key, body).status_code == 404


def test_the_openapi_document_names_the_header(stand: Stand) -> None:
    parameters = stand.json("/openapi.json")["paths"]["/-/{address}"]["post"]["parameters"]
    [header] = [one for one in parameters if one["in"] == "header"]
    assert (header["name"], header["required"]) == ("Idempotency-Key", False)


def test_a_form_that_is_sent_twice_launches_once(stand: Stand) -> None:
    [uid] = [
        each["uid"] for each in stand.json("/flow")["items"] if each["summary"] == "Greet by key"
    ]
    page, name = f"/services/{uid}", f"form {uuid4()}"

    def key() -> str:
        text = stand.get(page).text
        parts = text.split('name="kodosumi.key" value="')[1:]
        [only] = {part.partition('"')[0] for part in parts}
        return only

    shown = key()
    assert shown != key()

    def send(name: str, key: str, where: str = page, **more: str) -> httpx.Response:
        fields = {"field.name": name, "name": name, "kodosumi.key": key} | more
        return stand.client.post(where, data=fields)

    first = send(name, shown)
    assert first.status_code == 303, first.text
    fid = first.headers["location"].rpartition("/")[2]
    assert send(name, shown).headers["location"] == first.headers["location"]
    assert runs_named(name) == [fid]
    assert audited(stand, fid) == ["launch"]
    # Who goes back and changes something, or gets a new form, wants another run.
    assert send(f"{name} changed", shown).headers["location"] != first.headers["location"]
    assert send(name, key()).headers["location"] != first.headers["location"]

    when = {"kodosumi.cron": "0 6 * * *", "kodosumi.timezone": "UTC", "kodosumi.name": name}
    for _ in range(2):
        assert send(name, shown, f"{page}/schedule", **when).status_code == 303
    assert len([one for one in stand.json("/schedules")["items"] if one["summary"] == name]) == 1


def test_a_wrong_form_is_corrected_with_the_key_it_has(stand: Stand) -> None:
    [uid] = [
        each["uid"] for each in stand.json("/flow")["items"] if each["summary"] == "Greet by key"
    ]
    key, name = str(uuid4()), f"corrected form {uuid4()}"
    wrong = stand.client.post(f"/services/{uid}", data={"name": "", "kodosumi.key": key})
    assert wrong.status_code == 422 and 'aria-invalid="true"' in wrong.text
    right = stand.client.post(f"/services/{uid}", data={"name": name, "kodosumi.key": key})
    assert runs_named(name) == [right.headers["location"].rpartition("/")[2]]


def test_what_is_run_again_with_one_key_is_run_again_once(stand: Stand) -> None:
    name = f"rerun {uuid4()}"
    fid = fid_of(post(stand.client, GREET, None, {"name": name}))
    wish = {"action": "again", "fids": [fid]}
    for _ in range(2):
        answer = post(stand.client, "/executions/bulk", "bulk key", wish)
        assert answer.json() == {"done": 1, "failed": [], "next": None}
    assert len(runs_named(name)) == 2
    assert audited(stand, fid).count("run_again") == 1
    assert post(stand.client, "/executions/bulk", "next key", wish).json()["done"] == 1
    assert len(runs_named(name)) == 3


class Older:
    """A service of a release that knows nothing of keys."""

    def __init__(self, stand: Stand, stack: ExitStack) -> None:
        self.launched: list[str] = []
        self.service = Faulty(**{"openapi.json": document()})
        self.url = stack.enter_context(served_app(self.service.app))
        answer = stand.client.post("/flow/register", json={"url": f"{self.url}/openapi.json"})
        [endpoint] = answer.json()
        self.path = str(endpoint["url"])
        self.service.answers["/go"] = self.launch

    async def launch(self, request: Request) -> Response:
        await request.body()
        self.launched.append(str(uuid4()))
        return JSONResponse({"result": self.launched[-1], "elements": []})


@contextmanager
def older(stand: Stand) -> Iterator[Older]:
    with ExitStack() as stack:
        service = Older(stand, stack)
        try:
            yield service
        finally:
            url = {"url": f"{service.url}/openapi.json"}
            assert stand.client.post("/flow/unregister", json=url).is_success


def test_an_older_service_launches_once_while_its_answer_is_known(stand: Stand) -> None:
    with older(stand) as service:
        answers = [post(stand.client, service.path, "a key", {"name": "old"}) for _ in range(3)]
        assert [answer.json()["result"] for answer in answers] == service.launched * 3
        assert "kodosumi_repeated" in answers[2].headers


def test_an_older_service_whose_answer_was_lost_is_not_asked_again(stand: Stand) -> None:
    with older(stand) as service:
        post(stand.client, service.path, "lost key", {"name": "old"})
        lose(stand, "lost key")
        for body, status in (
            ({"name": "old"}, 409),
            ({"name": "new"}, 422),
            ({"name": "old"}, 409),
        ):
            answer = post(stand.client, service.path, "lost key", body)
            assert answer.status_code == status, answer.text
            assert "look among the executions" in answer.json()["detail"]
        assert len(service.launched) == 1


def test_a_service_that_was_not_reached_leaves_the_key_free(stand: Stand) -> None:
    with ExitStack() as stack:
        service = Older(stand, stack)
    assert post(stand.client, service.path, "free key", {"name": "old"}).status_code == 502
    assert not rows(stand, "SELECT key FROM kodosumi.launch_key WHERE key = 'free key'")
    url = {"url": f"{service.url}/openapi.json"}
    assert stand.client.post("/flow/unregister", json=url).is_success


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path

from kodosumi_prefect.launch import sent_files
from kodosumi_prefect.panel.services import launch_keys
from kodosumi_prefect.panel.web.server import serve
from kodosumi_prefect.settings import get_settings

launch_keys.CLAIMED = 1.0
began = sent_files.start_run

async def killed(*wish):
    if sys.argv[1] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    await began(*wish)
    os.kill(os.getpid(), signal.SIGKILL)

sent_files.start_run = killed
def ready(url):
    written = Path(sys.argv[2] + ".new")
    written.write_text(url)
    written.rename(sys.argv[2])

asyncio.run(serve(get_settings(), stop=asyncio.Event(), on_ready=ready))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_panel_that_is_killed_in_the_middle_launches_once(
    stand: Stand, tmp_path: Path, when: str, prefect_server: str
) -> None:
    used = stand.settings
    assert used.database_url is not None
    environment = os.environ | {
        f"{PREFIX}DATABASE_URL": used.database_url.get_secret_value(),
        f"{PREFIX}DATA_DIR": str(used.data_dir),
        f"{PREFIX}SERVICES": "keyed_service:app",
        f"{PREFIX}LAUNCH_WORK_POOL": "keys",
        f"{PREFIX}PORT": "0",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    address, log = tmp_path / "address", tmp_path / "log"
    command = [sys.executable, "-c", KILLED, when, str(address)]
    with log.open("wb") as output:
        panel = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: address.exists() or panel.poll() is not None, 60)
        assert address.exists(), log.read_text()
        key, name = str(uuid4()), f"killed {when} {uuid4()}"
        headers = {"KODOSUMI_API_KEY": stand.token, "Idempotency-Key": key}
        with pytest.raises(httpx.TransportError):
            httpx.post(
                address.read_text() + GREET, json={"name": name}, headers=headers, timeout=60
            )
        assert panel.wait(20) == -signal.SIGKILL, log.read_text()
    finally:
        if panel.poll() is None:
            panel.kill()
            panel.wait()
    assert len(runs_named(name)) == (1 if when == "after" else 0)
    fid = fid_of(post(stand.client, GREET, key, {"name": name}))
    assert runs_named(name) == [fid]
    assert audited(stand, fid) == ["launch"]
    assert fid_of(post(stand.client, GREET, key, {"name": name})) == fid


def test_without_postgres_nothing_is_launched(stand: Stand) -> None:
    async def refused(*_: object) -> Any:
        raise AssertionError("launched without a claim")

    async def ask() -> None:
        keys = launch_keys.LaunchKeys(stand.settings, reader)
        asked = launch_keys.AskedLaunch("owner", "endpoint", "key", [b"body"])
        with pytest.raises(psycopg.OperationalError):
            await keys.once(asked, refused)

    from kodosumi_prefect.stream.reader import Reader

    reader = Reader(make_conninfo(stand.database, port="9"), "kodosumi", 1)
    asyncio.run(ask())
