"""Webhooks in the panel: whose they are, what is shown of them, and that it is recorded."""

import re
import socket
import sys
import threading
import time
from typing import Any

import psycopg
import pytest

from kodosumi_prefect.cli import main
from kodosumi_prefect.events import serialize
from kodosumi_prefect.outbox import address_check
from kodosumi_prefect.outbox.address_check import refusal_of
from kodosumi_prefect.outbox.webhooks import MOST
from kodosumi_prefect.settings import reset_settings, use_settings
from tests.audit_entries import entries, last_id
from tests.panel.panel_runs import Person, Stand

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")

NEW = {"name": "Desk", "url": "https://example.org/hook", "kinds": ["lock.opened"]}


def made(person: Any, **fields: Any) -> dict[str, Any]:
    answer = person.client.post("/webhooks", json=NEW | fields)
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


def set_aside(panel: Stand, person: Person, webhook: str) -> None:
    """A question of one of their runs that could not be sent for a day."""
    run = panel.run(owner=person.id, summary="Invoices").begin()
    lock = {"name": "a", "lid": "l1", "data": None, "expires": time.time() + 600}
    run.say("lock", serialize(lock))
    with psycopg.connect(panel.database) as connection:
        connection.execute(
            "UPDATE kodosumi.webhook_delivery SET state = 'set_aside', tries = 9, status = 500,"
            " trouble = 'it answered 500', ended_at = now() WHERE webhook_id = %s",
            (webhook,),
        )


def test_a_secret_is_shown_once(panel: Stand) -> None:
    mira = panel.person("Mira hooks")
    webhook = made(mira)
    assert re.fullmatch(r"whsec_[\w+/]{43}=", webhook["secret"])
    [listed] = mira.client.get("/webhooks").json()
    assert "secret" not in listed
    assert listed == {name: value for name, value in webhook.items() if name != "secret"}
    rotated = mira.client.post(f"/webhooks/{webhook['id']}/rotate").json()
    assert rotated["secret"] != webhook["secret"]
    assert rotated["old_until"]
    pages = [mira.client.get(f"/account/webhooks{path}").text for path in ("", f"/{webhook['id']}")]
    assert all("whsec_" not in page and "Desk" in page for page in pages)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": " "}, "name"),
        ({"url": "ftp://example.org"}, "url"),
        ({"url": "https://ann:pass@example.org"}, "user or password"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "https://exämple.org"}, "ASCII"),
        ({"kinds": []}, "at least one"),
        ({"kinds": ["lock.opened", "lock.lost"]}, "lock.lost"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused(
    panel: Stand, fields: dict[str, Any], problem: str
) -> None:
    answer = panel.client.post("/webhooks", json=NEW | fields)
    assert answer.status_code in (400, 422)
    assert problem in answer.json()["detail"]
    form = {"name": "Desk", "url": NEW["url"], "kinds": NEW["kinds"]} | fields
    page = panel.client.post("/account/webhooks", data=form, headers={"hx-request": "true"})
    assert page.status_code == 422
    assert 'role="alert"' in page.text


def test_a_webhook_is_its_accounts_and_operators(panel: Stand) -> None:
    mira, noor = panel.person("Mira owns"), panel.person("Noor looks")
    id_ = made(mira)["id"]
    assert noor.client.get("/webhooks").json() == []
    for method, path in (
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/send-again"),
        ("GET", "/deliveries"),
    ):
        body = {"json": {"name": "hers"}} if method == "PUT" else {}
        answer = noor.client.request(method, f"/webhooks/{id_}{path}", **body)
        assert answer.status_code == 404, (method, path)
    for method, path in (
        *(("GET", ""), ("GET", "/deliveries"), ("POST", ""), ("POST", "/active")),
        *(("POST", "/rotate"), ("POST", "/delete"), ("POST", "/send-again")),
    ):
        data = {"data": {"name": "hers"}} if method == "POST" else {}
        answer = noor.client.request(method, f"/account/webhooks/{id_}{path}", **data)
        assert answer.status_code == 404, (method, path)
    assert id_ in [one["id"] for one in panel.client.get("/webhooks").json()]
    changed = panel.client.put(f"/webhooks/{id_}", json={"active": False}).json()
    assert (changed["active"], changed["username"]) == (False, "Mira owns")
    assert panel.client.delete(f"/webhooks/{id_}").status_code == 204
    assert mira.client.get("/webhooks").json() == []


def test_only_operators_get_word_of_all_executions(panel: Stand) -> None:
    mira = panel.person("Mira everyone")
    assert mira.client.post("/webhooks", json=NEW | {"everyone": True}).status_code == 403
    id_ = made(mira)["id"]
    assert mira.client.put(f"/webhooks/{id_}", json={"everyone": True}).status_code == 403
    form = {"name": "Desk", "url": NEW["url"], "kinds": ["lock.opened"], "everyone": "true"}
    mira.client.post(f"/account/webhooks/{id_}", data=form)
    assert mira.client.get("/webhooks").json()[0]["everyone"] is False


def test_webhooks_of_accounts_that_are_no_operators_get_word_of_their_own_only(
    panel: Stand, command: Any
) -> None:
    mira, boss = panel.person("Mira member"), panel.person("Boss member", operator=True)
    of_mira, of_boss = made(mira)["id"], made(boss)["id"]
    refused = panel.client.put(f"/webhooks/{of_mira}", json={"everyone": True})
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "everyone: Mira member is no operator, so this webhook gets word of their own executions "
        "only; make a webhook of your own, or make them an operator",
    )
    form = {"name": "Desk", "url": NEW["url"], "kinds": ["lock.opened"], "everyone": "true"}
    part = {"hx-request": "true"}
    page = panel.client.post(f"/account/webhooks/{of_mira}", data=form, headers=part)
    assert (page.status_code, "Mira member is no operator" in page.text) == (422, True)
    assert 'name="everyone"' not in panel.get(f"/account/webhooks/{of_mira}").text
    changed = panel.client.put(f"/webhooks/{of_boss}", json={"everyone": True}).json()
    assert (changed["everyone"], changed["idle"]) == (True, None)
    panel.client.put(f"/role/{boss.id}", json={"operator": False})
    [listed] = boss.client.get("/webhooks").json()
    assert listed["idle"] == "no_operator"
    assert "Boss member is no operator" in boss.client.get(f"/account/webhooks/{of_boss}").text
    assert "sends nothing: no operator" in command()
    panel.client.put(f"/role/{mira.id}", json={"active": False})
    assert panel.client.put(f"/webhooks/{of_mira}", json={}).json()["idle"] == "account_disabled"


def test_an_address_inside_the_network_is_said_to_be_refused(
    panel: Stand,
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mira = panel.person("Mira inside")
    looked_up = socket.getaddrinfo

    def lookup(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host == "away.example.org":
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        address = {"desk.example.org": "10.1.2.3", "example.org": "93.184.215.14"}.get(host, host)
        return looked_up(address, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    why = (
        " is inside the network, so nothing is sent there unless "
        "PREFECT_INTEGRATIONS_KODOSUMI_WEBHOOK_NETWORKS allows it where the observer runs"
    )
    said = made(mira, url="http://desk.example.org/hook")
    assert said["refused"] == f"desk.example.org{why}"  # and not where
    for url in (NEW["url"], "https://away.example.org"):
        assert made(mira, url=url)["refused"] is None
    path = f"/webhooks/{said['id']}"
    assert mira.client.put(path, json={"name": "Office"}).json()["refused"] is None
    moved = mira.client.put(path, json={"url": "http://[::1]:9/"}).json()
    assert moved["refused"] == f"::1{why}"
    form = {"name": "Desk", "url": "http://169.254.169.254/", "kinds": ["lock.opened"]}
    for address in ("/account/webhooks", f"/account{path}"):
        page = mira.client.post(address, data=form, headers={"hx-request": "true"})
        assert (page.status_code, f"169.254.169.254{why}." in page.text) == (200, True)
    assert command("add", "inside", "http://127.0.0.1/x").startswith("whsec_")
    assert f"127.0.0.1{why}\n" in command.errors[-1]


async def test_an_address_that_is_allowed_or_slow_is_not_said_to_be_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await refusal_of("http://127.0.0.1:9/x", []) is not None
    assert await refusal_of("http://127.0.0.1:9/x", ["127.0.0.0/8"]) is None
    answered = threading.Event()

    def silent(*_: Any, **__: Any) -> list[Any]:
        answered.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    monkeypatch.setattr(address_check, "PATIENCE", 0.05)
    try:
        assert await refusal_of("http://slow.example.org/", []) is None
    finally:
        answered.set()


def test_links_that_answer_as_an_account_go_where_that_account_said_only(panel: Stand) -> None:
    mira = panel.person("Mira links")
    path = f"/webhooks/{made(mira, with_links=True)['id']}"
    renamed = panel.client.put(path, json={"name": "Other", "url": NEW["url"]})
    assert renamed.json()["with_links"] is True
    moved = panel.client.put(path, json={"url": "https://example.org/elsewhere"})
    assert moved.json()["with_links"] is False
    refused = panel.client.put(path, json={"with_links": True})
    assert (refused.status_code, "Mira links" in refused.text) == (403, True)
    form = {"name": "Desk", "url": NEW["url"], "kinds": ["lock.opened"], "with_links": "true"}
    mira.client.post(f"/account{path}", data=form)
    assert mira.client.get("/webhooks").json()[0]["with_links"] is True
    mira.client.post(f"/account{path}", data=form | {"with_links": "false"})
    assert mira.client.get("/webhooks").json()[0]["with_links"] is False


def test_who_is_no_operator_any_more_hears_of_their_own_executions_only(panel: Stand) -> None:
    boss, mira = panel.person("Boss before", operator=True), panel.person("Mira of others")
    id_ = made(boss, everyone=True)["id"]
    set_aside(panel, mira, id_)
    set_aside(panel, boss, id_)
    address = f"/webhooks/{id_}"
    assert len(boss.client.get(f"{address}/deliveries").json()) == 2
    panel.client.put(f"/role/{boss.id}", json={"operator": False})
    assert boss.client.get(f"{address}/deliveries").json() == []
    page = boss.client.get(f"/account{address}")
    assert 'name="everyone" value="true" checked' in page.text
    form = {"name": "Desk", "url": NEW["url"], "kinds": NEW["kinds"], "with_data": "true"}
    assert boss.client.post(f"/account{address}", data=form | {"everyone": "1"}).status_code == 403
    assert boss.client.post(f"/account{address}", data=form).status_code == 200
    [row] = boss.client.get(f"{address}/deliveries").json()
    assert (row["state"], row["fid"]) == ("set_aside", panel.runs[-1].fid)
    assert boss.client.post(f"{address}/send-again").json() == {"sent": 1}


def test_an_account_has_only_so_many(panel: Stand) -> None:
    mira = panel.person("Mira many")
    for _ in range(MOST):
        made(mira)
    assert mira.client.post("/webhooks", json=NEW).status_code == 409


def test_what_was_set_aside_is_shown_and_sent_again(panel: Stand) -> None:
    mira = panel.person("Mira again")
    id_ = made(mira)["id"]
    set_aside(panel, mira, id_)
    [row] = mira.client.get(f"/webhooks/{id_}/deliveries", params={"state": "set_aside"}).json()
    assert (row["kind"], row["title"], row["tries"]) == ("lock.opened", "Invoices", 9)
    text = mira.client.get(f"/account/webhooks/{id_}?state=set_aside").text
    assert "it answered 500" in text
    assert f'href="/executions/{row["fid"]}"' in text
    answer = mira.client.post(
        f"/account/webhooks/{id_}/send-again",
        data={"delivery": row["id"]},
        headers={"hx-request": "true"},
    )
    assert "1 is sent again." in answer.text
    [row] = mira.client.get(f"/webhooks/{id_}/deliveries").json()
    assert row["state"] == "waiting"
    assert mira.client.post(f"/webhooks/{id_}/send-again").json() == {"sent": 0}


def test_what_is_done_to_webhooks_is_recorded(panel: Stand) -> None:
    mira = panel.person("Mira recorded")
    after = last_id(panel)
    webhook = made(mira, url="https://example.org/hook?token=sesame")
    path = f"/webhooks/{webhook['id']}"
    mira.client.put(path, json={"name": "Other"})
    mira.client.post(f"{path}/rotate")
    mira.client.post(f"{path}/send-again")
    mira.client.delete(path)
    recorded = entries(panel, after)
    assert [(row["action"], row["outcome"]) for row in recorded] == [
        ("webhook_create", "ok"),
        ("webhook_change", "ok"),
        ("webhook_rotate", "ok"),
        ("webhook_send_again", "ok"),
        ("webhook_delete", "ok"),
    ]
    assert {row["target_id"] for row in recorded} == {webhook["id"]}
    assert "sesame" not in str(recorded)
    assert webhook["secret"] not in str(recorded)
    mira.client.put(path, json={"name": "Other"})
    assert entries(panel, after)[-1]["outcome"] == "refused"


def test_a_webhook_is_made_changed_and_deleted_on_its_page(panel: Stand) -> None:
    mira = panel.person("Mira pages")
    form = {"name": "Desk", "url": NEW["url"], "kinds": ["lock.opened", "execution.failed"]}
    page = mira.client.post("/account/webhooks", data=form, headers={"hx-request": "true"}).text
    assert re.search(r'value="whsec_[\w+/]{43}="', page)
    [webhook] = mira.client.get("/webhooks").json()
    address = f"/account/webhooks/{webhook['id']}"
    mira.client.post(address, data=form | {"name": "Office", "with_data": "true"})
    mira.client.post(f"{address}/active", data={"active": "false"})
    [webhook] = mira.client.get("/webhooks").json()
    assert (webhook["name"], webhook["with_data"], webhook["active"]) == ("Office", True, False)
    assert "paused" in mira.client.get(address).text
    gone = mira.client.post(f"{address}/delete", headers={"hx-request": "true"})
    assert gone.headers["hx-redirect"] == "/account/webhooks"
    assert "No webhooks yet" in mira.client.get("/account/webhooks").text


@pytest.fixture
def command(panel: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `kodosumi-prefect webhooks WORDS`; what it printed."""
    monkeypatch.setenv("COLUMNS", "200")
    settings = panel.settings.model_copy(update={"panel_url": panel.url})
    reset_settings(settings)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["kodosumi-prefect", "webhooks", *words])
        capsys.readouterr()
        with use_settings(settings), pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        run.errors.append(err)  # type: ignore[attr-defined]
        return out.strip()

    run.errors = []  # type: ignore[attr-defined]
    yield run
    reset_settings()


def test_webhooks_from_the_command_line(panel: Stand, command: Any) -> None:
    secret = command("add", "from cli", "https://example.org/x", "--kind", "all", "--everyone")
    assert secret.startswith("whsec_")
    [webhook] = [one for one in panel.client.get("/webhooks").json() if one["name"] == "from cli"]
    assert len(webhook["kinds"]) == 10
    id_ = webhook["id"]
    assert "from cli" in command()
    assert command("rotate", id_[:12]) not in ("", secret)
    assert "paused" in command("pause", id_)
    assert "active" in command("resume", id_)
    assert command("deliveries", id_) == "nothing yet"
    assert command("send-again", id_) == "0 sent again"
    assert "deleted" in command("remove", id_)
