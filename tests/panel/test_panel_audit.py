"""Who did what is recorded: all that changes something, with who, whence, how and what came."""

import asyncio
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from starlette.responses import JSONResponse

from kodosumi_prefect.cli import user as user_command
from kodosumi_prefect.cli.clean import clean
from kodosumi_prefect.observer.cleaning import Cleaning
from kodosumi_prefect.panel.accounts import attempts
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.audit.rules import RULES, UNRECORDED
from kodosumi_prefect.panel.audit.trail import BURST
from kodosumi_prefect.panel.web.app import create_app
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.audit_entries import entries, entry, last_id
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, hanging
from tests.panel.panel_runs import Stand, fetch, serving, until
from tests.spooler.recording import execute

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
PASSWORD = "long enough to guess"
NOWHERE = "http://127.0.0.1:9/openapi.json"
UNKNOWN = str(uuid4())
WEBHOOK = {"name": "Desk", "url": "https://example.org/hook"}
FLAT = UNKNOWN.replace("-", "")


def routes(among: Iterable[Any]) -> Iterator[Any]:
    """All routes, those of included routers as well."""
    for route in among:
        inner = getattr(route, "effective_candidates", None)
        yield from routes(inner()) if inner is not None else [route]


def test_everything_that_changes_something_is_recorded_or_named_with_a_reason() -> None:
    named = {
        f"{method} {route.path}"
        for route in routes(create_app(Settings()).routes)
        for method in getattr(route, "methods", None) or ()
    }
    changing = {name for name in named if name.partition(" ")[0] in CHANGING} | {"GET /logout"}
    assert changing > {"POST /login", "PUT /role/{id}", "POST /users/{id}/delete"}
    assert changing - RULES.keys() - UNRECORDED.keys() == set()
    assert (RULES.keys() | UNRECORDED.keys()) - named == set()
    assert RULES.keys() & UNRECORDED.keys() == set()
    assert all(UNRECORDED.values())
    used = {action for rule in RULES.values() for action in rule.actions}
    of_the_command_line = {Action.CLEAN, Action.OWNER_EXPORT, Action.OWNER_ERASE}
    of_questions = {Action.LOCK_ASKED, Action.LOCK_REMINDED, Action.LOCK_ESCALATED}
    assert set(Action) - used == of_the_command_line | of_questions | {Action.CONTENTS_READ}


# A request for each rule, and the outcome that it has in a panel without Prefect and services.
REQUESTS: dict[str, tuple[dict[str, Any], Outcome]] = {
    "POST /login": ({"data": {"name": "admin", "password": "wrong"}}, Outcome.REFUSED),
    "POST /api/login": ({"json": {"name": "nobody", "password": "wrong"}}, Outcome.REFUSED),
    "GET /logout": ({}, Outcome.OK),
    "POST /logout": ({"params": {"everywhere": False}}, Outcome.OK),
    "POST /keys": ({"json": {"name": "a key"}}, Outcome.OK),
    "DELETE /keys/{id}": ({}, Outcome.REFUSED),
    "POST /account/keys": ({"data": {"name": "a key"}}, Outcome.OK),
    "POST /account/keys/{id}/revoke": ({}, Outcome.REFUSED),
    "POST /account/password": ({"data": {"old": "wrong", "new": PASSWORD}}, Outcome.REFUSED),
    "POST /role": ({"json": {"name": "mira", "email": None, "password": None}}, Outcome.OK),
    "PUT /role/{id}": ({"json": {"email": "a@example.org"}}, Outcome.REFUSED),
    "DELETE /role/{id}": ({}, Outcome.REFUSED),
    "POST /users": ({"data": {"name": "noor", "generate": "true"}}, Outcome.OK),
    "POST /users/{id}": ({"data": {"name": "x", "active": "true"}}, Outcome.REFUSED),
    "POST /users/{id}/password": ({"data": {"password": PASSWORD}}, Outcome.REFUSED),
    "POST /users/{id}/delete": ({}, Outcome.REFUSED),
    "POST /-/{address:path}": ({"json": {}}, Outcome.REFUSED),
    "PUT /-/{address:path}": ({"json": {}}, Outcome.REFUSED),
    "PATCH /-/{address:path}": ({"json": {}}, Outcome.REFUSED),
    "DELETE /-/{address:path}": ({}, Outcome.REFUSED),
    "POST /services/{uid}": ({"data": {}}, Outcome.REFUSED),
    "POST /inputs/-/{address:path}": ({"data": {}}, Outcome.REFUSED),
    "POST /services/{uid}/schedule": ({"data": {}}, Outcome.REFUSED),
    "POST /outputs/{fid}/cancel": ({}, Outcome.FAILED),
    "POST /outputs/{fid}/retry": ({}, Outcome.REFUSED),
    "POST /outputs/{fid}/token": ({}, Outcome.OK),
    "DELETE /outputs/{fid}": ({}, Outcome.REFUSED),
    "DELETE /outputs": ({"json": {"fid": [UNKNOWN]}}, Outcome.REFUSED),
    "POST /executions/{fid}/cancel": ({}, Outcome.REFUSED),
    "POST /executions/{fid}/retry": ({}, Outcome.REFUSED),
    "POST /executions/{fid}/archive": ({}, Outcome.REFUSED),
    "POST /executions/bulk": ({"json": {"action": "archive"}}, Outcome.OK),
    "POST /lock/{fid}/{lid}": ({"json": {}}, Outcome.REFUSED),
    "POST /waiting/{fid}/{lid}": ({"data": {}}, Outcome.REFUSED),
    "POST /inputs/lock/{fid}/{lid}": ({"data": {}}, Outcome.REFUSED),
    "POST /lock/{fid}/{lid}/delegate": ({"json": {"to": "ann"}}, Outcome.REFUSED),
    "POST /waiting/{fid}/{lid}/delegate": ({"data": {"to": "ann"}}, Outcome.REFUSED),
    "POST /lock/{fid}/{lid}/links": ({"json": {"account": "ann"}}, Outcome.REFUSED),
    "POST /waiting/{fid}/{lid}/links": ({"data": {"account": "ann"}}, Outcome.REFUSED),
    "POST /team": ({"json": {"name": "legal"}}, Outcome.OK),
    "PUT /team/{name}": ({"json": {"members": []}}, Outcome.REFUSED),
    "DELETE /team/{name}": ({}, Outcome.REFUSED),
    "POST /teams": ({"data": {"name": "lead", "members": "admin"}}, Outcome.OK),
    "POST /teams/{name}": ({"data": {"new_name": "x"}}, Outcome.REFUSED),
    "POST /teams/{name}/delete": ({}, Outcome.REFUSED),
    "POST /schedules/{schedule_id}/pause": ({}, Outcome.REFUSED),
    "POST /schedules/{schedule_id}/resume": ({}, Outcome.REFUSED),
    "DELETE /schedules/{schedule_id}": ({}, Outcome.REFUSED),
    "POST /schedules/change": ({"data": {"do": "pause", "id": UNKNOWN}}, Outcome.REFUSED),
    "POST /files/complete/{direction}": (
        {"json": {"upload_id": UNKNOWN, "filename": "a", "total_chunks": 1, "fid": UNKNOWN}},
        Outcome.REFUSED,
    ),
    "POST /files/complete/{fid}/{batch_id}/{direction}": ({"json": {}}, Outcome.REFUSED),
    "GET /files/{fid}/{direction}/{path:path}": ({}, Outcome.REFUSED),
    "POST /executions/{fid}/files.zip": ({"data": {"path": "out/a"}}, Outcome.REFUSED),
    "DELETE /files/{fid}/{direction}/{path:path}": ({}, Outcome.REFUSED),
    "DELETE /files/{fid}/{direction}": ({}, Outcome.REFUSED),
    "POST /flow/register": ({"json": {"url": NOWHERE}}, Outcome.OK),
    "POST /flow/unregister": ({"json": {"url": NOWHERE}}, Outcome.OK),
    "PUT /flow/register": ({}, Outcome.OK),
    "POST /system/sources": ({"data": {"url": NOWHERE}}, Outcome.OK),
    "POST /system/sources/refresh": ({"data": {"url": NOWHERE}}, Outcome.REFUSED),
    "POST /system/sources/remove": ({"data": {"url": NOWHERE}}, Outcome.OK),
    "POST /system/prefect-password": ({}, Outcome.REFUSED),
    "POST /webhooks": ({"json": {**WEBHOOK, "kinds": ["lock.opened"]}}, Outcome.OK),
    "PUT /webhooks/{webhook_id}": ({"json": {"name": "x"}}, Outcome.REFUSED),
    "POST /webhooks/{webhook_id}/rotate": ({}, Outcome.REFUSED),
    "POST /webhooks/{webhook_id}/send-again": ({}, Outcome.REFUSED),
    "DELETE /webhooks/{webhook_id}": ({}, Outcome.REFUSED),
    "POST /account/webhooks": ({"data": {**WEBHOOK, "kinds": "lock.opened"}}, Outcome.OK),
    "POST /account/webhooks/{webhook_id}": ({"data": {"name": "x"}}, Outcome.REFUSED),
    "POST /account/webhooks/{webhook_id}/active": ({"data": {}}, Outcome.REFUSED),
    "POST /account/webhooks/{webhook_id}/rotate": ({}, Outcome.REFUSED),
    "POST /account/webhooks/{webhook_id}/send-again": ({}, Outcome.REFUSED),
    "POST /account/webhooks/{webhook_id}/delete": ({}, Outcome.REFUSED),
    "POST /budgets": ({"data": {"per": "run", "dollars": "2"}}, Outcome.OK),
    "POST /budgets/remove": ({"data": {"per": "run", "name": "nobody"}}, Outcome.REFUSED),
    "GET /audit.csv": ({}, Outcome.OK),
    "GET /audit.jsonl": ({}, Outcome.OK),
}


def test_each_operation_of_the_rules_leaves_an_entry(fresh_panel: Stand) -> None:
    assert REQUESTS.keys() == RULES.keys() - {"POST /answer/{token}"}  # nobody is signed in there
    fresh_panel.run().begin().finish()
    ids = ("id", "name", "fid", "lid", "schedule_id", "webhook_id", "batch_id")
    ids += ("address:path", "path:path")
    parameters = dict.fromkeys(ids, UNKNOWN) | {"direction": "in"}
    admin = fresh_panel.json("/role/admin")["id"]
    wrong = {}
    for name, (options, outcome) in REQUESTS.items():
        method, _, path = name.partition(" ")
        for parameter, value in {**parameters, "uid": FLAT}.items():
            path = path.replace(f"{{{parameter}}}", value)
        before = last_id(fresh_panel)
        client = fresh_panel.client
        if path == "/logout":  # who signs out is nobody afterwards
            client = fresh_panel.connect(local_token(fresh_panel.settings))
        answer = client.request(method, path, **options)
        found = until(lambda after=before: entries(fresh_panel, after))
        row, rule = found[0], RULES[name]
        right = Action(row["action"]) in rule.actions and row["outcome"] == outcome
        signs_in = Action.SIGN_IN in rule.actions
        right &= signs_in or (row["actor_id"], row["means"]) == (admin, "session")
        right &= row["address"] == "127.0.0.1" and row["user_agent"].startswith("python-httpx")
        if rule.parameter is not None:
            right &= UNKNOWN in row["target_id"] or row["target_id"] == FLAT
        if len(found) != 1 or not right:
            wrong[name] = (answer.status_code, answer.text[:200], found)
    assert wrong == {}


def test_who_signs_in_and_out_is_recorded_and_who_fails_to_by_the_accounts_name(
    fresh_panel: Stand,
) -> None:
    made = fresh_panel.client.post(
        "/role", json={"name": "Mira", "password": PASSWORD, "email": None}
    )
    client = fresh_panel.connect()
    assert client.post("/login", data={"name": "mira", "password": PASSWORD}).status_code == 200
    assert client.post("/logout", params={"everywhere": True}).status_code == 200
    into, out = entry(fresh_panel, action="sign_in"), entry(fresh_panel, action="sign_out")
    assert (into["actor_id"], into["actor_name"]) == (made.json()["id"], "Mira")
    assert (into["means"], into["outcome"], into["address"]) == ("password", "ok", "127.0.0.1")
    assert (out["actor_name"], out["means"], out["details"]) == (
        "Mira",
        "session",
        {"everywhere": True},
    )
    before = last_id(fresh_panel)
    assert fresh_panel.connect().post("/logout").status_code == 200  # nobody signs out
    for name in ("MIRA", "hunter2 typed here"):
        login = {"name": name, "password": "wrong"}
        assert fresh_panel.connect().post("/login", data=login).status_code == 401
    known = entry(fresh_panel, before, actor_name="Mira")
    assert (known["action"], known["outcome"]) == ("sign_in", "refused")
    unknown = entry(fresh_panel, before, actor_name=None)
    assert (unknown["outcome"], unknown["details"]) == ("refused", {"account": "unknown"})
    assert "hunter2" not in str(entries(fresh_panel))
    assert len(entries(fresh_panel, before)) == 2


def test_failed_sign_ins_share_an_entry_with_their_count(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FREE", 6)
    monkeypatch.setattr(attempts, "FIRST_DELAY", 0.0)
    with serving(settings) as stand:
        codes = []
        for _ in range(5):
            for name in ("admin", str(uuid4())):
                login = {"name": name, "password": "wrong"}
                codes.append(stand.connect().post("/login", data=login).status_code)
        assert set(codes) == {401, 429}
    rows = entries(stand, action="sign_in")
    assert [row["details"].get("times") for row in rows] == [None, None, 4, 4]
    assert [row["actor_name"] for row in rows].count("admin") == 2


def test_refusals_past_a_number_are_only_counted(settings: Settings) -> None:
    with serving(settings) as stand:
        for _ in range(BURST + 3):
            assert stand.client.delete(f"/role/{uuid4()}").status_code == 404
        assert len(entries(stand, action="account_delete")) == BURST
    *_, last = entries(stand, action="account_delete")
    assert (last["details"], last["outcome"]) == ({"times": 3}, "refused")


def test_changes_of_an_account_are_told_apart_and_hold_no_values(fresh_panel: Stand) -> None:
    made = fresh_panel.client.post(
        "/role", json={"name": "Mira", "email": None, "password": None, "operator": True}
    ).json()
    path = f"/role/{made['id']}"
    wishes: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({"password": PASSWORD}, "account_password", {}),
        ({"operator": False}, "account_operator", {"operator": False}),
        ({"active": False}, "account_disable", {}),
        ({"active": True}, "account_enable", {}),
        ({"email": "m@example.org"}, "account_change", {"fields": ["email"]}),
    ]
    for body, action, details in wishes:
        before = last_id(fresh_panel)
        assert fresh_panel.client.put(path, json=body).status_code == 200
        (row,) = entries(fresh_panel, before)
        assert (row["action"], row["details"]) == (action, details)
        assert (row["target_id"], row["target_name"]) == (made["id"], "Mira")
    before = last_id(fresh_panel)
    form = {"name": "Mira B", "email": "m@example.org", "operator": "true"}
    assert fresh_panel.client.post(f"/users/{made['id']}", data=form).status_code == 200
    found = {row["action"]: row["details"] for row in entries(fresh_panel, before)}
    assert found == {
        "account_operator": {"operator": True},
        "account_disable": {},
        "account_change": {"fields": ["name"]},
    }
    before = last_id(fresh_panel)
    assert fresh_panel.client.delete(path).status_code == 204
    gone = entry(fresh_panel, before, action="account_delete")
    assert (gone["target_name"], gone["actor_name"]) == ("Mira B", "admin")
    assert "m@example.org" not in str(entries(fresh_panel))


def test_what_an_api_key_does_names_the_key_and_a_refusal_names_who_tried(panel: Stand) -> None:
    mira = panel.person(f"mira-{uuid4()}")
    made = mira.client.post("/keys", json={"name": "laptop"}).json()
    with_key = panel.connect(made["key"])
    run = panel.run(owner=mira.id).begin().finish()
    assert with_key.delete(f"/outputs/{run.fid}").status_code == 204
    row = entry(panel, action="archive", target_id=run.fid)
    assert (row["actor_id"], row["means"], row["key_id"], row["key_name"]) == (
        mira.id,
        "key",
        made["id"],
        "laptop",
    )
    assert with_key.post("/keys", json={"name": "another"}).status_code == 403
    refused = entry(panel, actor_id=mira.id, action="key_create", outcome="refused")
    assert refused["key_name"] == "laptop"
    assert mira.client.delete(f"/role/{mira.id}").status_code == 403
    entry(panel, actor_id=mira.id, action="account_delete", outcome="refused")
    made_by = entry(panel, target_id=made["id"], action="key_create")
    assert (made_by["target_name"], made_by["means"]) == ("laptop", "session")
    assert made["key"] not in str(entries(panel, actor_id=mira.id))


def test_launches_through_a_service_name_the_execution_or_what_was_refused(
    panel: Stand,
) -> None:
    fid, schedule = str(uuid4()), str(uuid4())

    async def go(request: Any) -> JSONResponse:
        if "x-kodosumi-schedule" in request.headers:
            return JSONResponse({"schedule": schedule, "elements": []})
        if (await request.json()).get("n") is None:
            return JSONResponse({"errors": {"n": ["needed"]}, "elements": []})
        return JSONResponse({"result": fid, "elements": []}, headers={"kodosumi_launch": fid})

    service = Faulty(**{"openapi.json": document()})
    service.answers["/go"] = go
    with served_app(service.app) as url:
        found = panel.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        (endpoint,) = found.raise_for_status().json()
        before = last_id(panel)
        assert panel.client.post(endpoint["url"], json={"n": 1}).json()["result"] == fid
        assert panel.client.post(endpoint["url"], json={}).json()["errors"]
        when = {"x-kodosumi-schedule": json.dumps({"cron": "0 8 * * *"})}
        assert panel.client.post(endpoint["url"], json={"n": 1}, headers=when).status_code == 200
        path = f"/services/{endpoint['uid']}"
        assert panel.client.post(path, data={"n": "1"}).status_code == 303
        assert panel.client.post(path, data={}).status_code == 422
    told = [(r["action"], r["outcome"], r["target_kind"]) for r in entries(panel, before)]
    assert told == [
        ("launch", "ok", "execution"),
        ("launch", "refused", "endpoint"),
        ("schedule_create", "ok", "endpoint"),  # of a service that does not tell which
        ("launch", "ok", "execution"),
        ("launch", "refused", "endpoint"),
    ]
    launched = entries(panel, before, target_id=fid)
    assert [row["target_name"] for row in launched] == [endpoint["url"]] * 2
    assert "n" not in str([row["details"] for row in entries(panel, before, action="launch")])


def test_a_launch_whose_sender_hangs_up_is_recorded_as_failed(panel: Stand) -> None:
    service = Faulty(**{"openapi.json": document()})
    service.answers["/go"] = hanging
    with served_app(service.app) as url:
        found = panel.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        (endpoint,) = found.raise_for_status().json()
        before = last_id(panel)
        with pytest.raises(httpx.ReadTimeout):
            panel.client.post(endpoint["url"], json={}, timeout=0.5)
        row = entry(panel, before, action="launch")
    assert (row["outcome"], row["target_id"]) == ("failed", endpoint["url"])


def test_of_many_executions_each_has_its_entry(panel: Stand) -> None:
    fids = [panel.run(summary="many").begin().finish().fid for _ in range(2)]
    wish = {"action": "archive", "fids": fids}
    assert panel.client.post("/executions/bulk", json=wish).json()["done"] == 2
    for fid in fids:
        assert entry(panel, target_id=fid)["target_name"] == "many"
    running = [panel.run().begin().fid for _ in range(2)]
    answer = panel.client.request("DELETE", "/outputs", json={"fid": [*running, *fids]})
    assert set(answer.json()["failed"]) >= set(running)
    for fid in running:
        assert entry(panel, target_id=fid)["outcome"] == "refused"


def test_behind_a_proxy_the_clients_address_counts_and_new_accounts_are_recorded(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    behind = settings.model_copy(update={"auth": "proxy", "proxy_networks": ["127.0.0.0/8"]})
    stand = start_panel(behind, signed_in=False)
    said = {settings.proxy_header: "Mira", "X-Forwarded-For": "203.0.113.9"}
    client = httpx.Client(base_url=stand.url, headers=said, trust_env=False)
    assert client.get("/executions").status_code == 200
    row = entry(stand, action="account_create")
    assert (row["actor_name"], row["target_name"], row["means"]) == ("Mira", "Mira", "proxy")
    assert row["address"] == "203.0.113.9"
    assert client.post("/keys", json={"name": "one"}).status_code == 201
    made = entry(stand, action="key_create")
    assert (made["actor_name"], made["means"], made["address"]) == ("Mira", "proxy", "203.0.113.9")
    client.close()


def test_an_entry_that_cannot_be_stored_is_logged_and_counted_and_holds_nothing_up(
    fresh_panel: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    execute(fresh_panel.database, "ALTER TABLE kodosumi.audit RENAME TO elsewhere")
    assert fresh_panel.client.post("/keys", json={"name": "one"}).status_code == 201
    (line,) = [r.getMessage() for r in caplog.records if "audit entry" in r.getMessage()]
    assert "key_create" in line and '"actor_name": "admin"' in line and "\n" not in line
    assert "kodosumi_audit_lost_total 1.0" in fresh_panel.get("/metrics").text


def test_operators_read_it_by_filter_and_page_by_page(panel: Stand) -> None:
    mira = panel.person(f"mira-{uuid4()}")
    ids = [mira.client.post("/keys", json={"name": f"key {n}"}).json()["id"] for n in range(5)]
    asked = {"actor": mira.name.upper(), "action": "key_create", "limit": 2}
    first = panel.json("/audit", params=asked)
    assert [item["target_id"] for item in first["items"]] == ids[:2:-1]
    second = panel.json("/audit", params=asked | {"before": first["before"]})
    third = panel.json("/audit", params=asked | {"before": second["before"]})
    assert [item["target_id"] for item in second["items"] + third["items"]] == ids[2::-1]
    assert third["before"] is None
    at = second["items"][0]["at"]
    later = panel.json("/audit", params={"actor": mira.id, "since": at})["items"]
    assert [item["target_id"] for item in later] == ids[:1:-1]
    earlier = panel.json("/audit", params={"actor": mira.id, "until": at})["items"]
    assert [item["target_id"] for item in earlier][:2] == ids[1::-1]
    (one,) = panel.json("/audit", params={"target": ids[0], "outcome": "ok"})["items"]
    assert one["target_name"] == "key 0"
    assert panel.json("/audit", params={"target": ids[0], "outcome": "failed"})["items"] == []
    both = panel.json("/audit", params={"action": ["account_create", "key_create"]})["items"]
    assert {item["action"] for item in both} <= {"account_create", "key_create"}
    for wrong in ({"action": "nothing"}, {"outcome": "x"}, {"since": "soon"}, {"before": 0}):
        answer = panel.client.get("/audit", params=wrong)
        assert answer.status_code == 422, wrong
        assert next(iter(wrong)) in answer.json()["detail"]


def test_exports_hold_all_that_the_filter_holds(
    panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kodosumi_prefect.panel.audit.filter.EXPORTED", 2)
    mira = panel.person(f"mira-{uuid4()}")
    for n in range(5):
        mira.client.post("/keys", json={"name": f"key {n}"})
    asked = {"actor": mira.id}
    lines = panel.get("/audit.jsonl", params=asked)
    assert lines.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    found = [json.loads(line) for line in lines.text.splitlines()]
    table = list(csv.DictReader(io.StringIO(panel.get("/audit.csv", params=asked).text)))
    names = [f"key {n}" for n in range(4, -1, -1)]
    assert [row["target_name"] for row in found] == names
    assert [row["target_name"] for row in table] == names
    assert table[0].keys() == found[0].keys()
    assert table[0]["at"] == found[0]["at"]
    assert entries(panel, action="audit_export")[-1]["actor_name"] == "admin"


def test_the_page_shows_entries_with_the_filter_in_its_address(panel: Stand) -> None:
    mira = panel.person(f"mira-{uuid4()}")
    mira.client.post("/keys", json={"name": "laptop"})
    html = {"Accept": "text/html"}
    text = panel.get("/audit", params={"actor": mira.name, "limit": 1}, headers=html).text
    assert "Create an API key" in text and "laptop" in text and "127.0.0.1" in text
    assert f'href="/audit?actor={mira.name}"' not in text  # it is the newest already
    empty = panel.get("/audit", params={"target": UNKNOWN}, headers=html).text
    assert "Nothing matches this filter" in empty
    menu = panel.get("/executions", headers=html).text
    assert 'href="/audit"' in menu
    assert 'href="/audit"' not in mira.client.get("/executions", headers=html).text


def test_the_command_line_is_recorded_as_the_user_of_the_system(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "root-of-all")
    for action in (
        lambda: user_command.add("Mira", operator=True),
        lambda: user_command.add("Noor"),
        lambda: user_command.passwd("noor"),
        lambda: user_command.operator("Noor"),
        lambda: user_command.disable("noor"),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
        action()
    with use_settings(settings.model_copy(update={"audit_retention_days": 400})):
        clean()
        clean(dry_run=True)
    assert settings.database_url is not None
    rows = fetch(settings.database_url.get_secret_value(), "TABLE kodosumi.audit ORDER BY id")
    assert [(row["action"], row["target_name"], row["details"]) for row in rows] == [
        ("account_create", "Mira", {"operator": True}),
        ("account_create", "Noor", {"operator": False}),
        ("account_password", "Noor", {}),
        ("account_operator", "Noor", {"operator": True}),
        ("account_disable", "Noor", {}),
        (
            "clean",
            None,
            {
                "days": {
                    **dict.fromkeys(("executions", "stdio", "contents", "files")),
                    "audit": 400.0,
                }
            },
        ),
    ]
    who = {(row["actor_id"], row["actor_name"], row["means"], row["outcome"]) for row in rows}
    assert who == {(None, "root-of-all", "cli", "ok")}


def aged(database: str, days: float) -> None:
    """An entry of so long ago, as only a superuser can make it."""
    with psycopg.connect(database) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO kodosumi.audit (at, action, outcome)"
            " VALUES (now() - make_interval(secs => %s), 'launch', 'ok')",
            (days * 86_400,),
        )


def test_old_entries_go_by_command_and_by_the_observer(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings.database_url is not None
    database = settings.database_url.get_secret_value()
    launches = "SELECT count(*) FROM kodosumi.audit WHERE action = 'launch'"

    def count() -> int:
        return int(fetch(database, launches)[0]["count"])

    for days in (5, 29, 31, 500):
        aged(database, days)
    asyncio.run(Cleaning(settings).look())
    assert count() == 4  # without the setting all is kept
    kept = settings.model_copy(update={"audit_retention_days": 30.0})
    with use_settings(kept):
        clean(dry_run=True)
        assert "would delete 2 audit entries older than 30 days" in capsys.readouterr().out
        assert count() == 4
        clean()
        assert "deleted 2 audit entries older than 30 days" in capsys.readouterr().out
    assert count() == 2
    asyncio.run(Cleaning(kept.model_copy(update={"audit_retention_days": 7.0})).look())
    assert count() == 1


def test_it_is_kept_for_a_week_at_least() -> None:
    with pytest.raises(ValueError, match="audit_retention_days"):
        Settings(audit_retention_days=6.9)


def test_the_first_operator_is_recorded_by_the_start(fresh_panel: Stand) -> None:
    row = entry(fresh_panel, action="account_create")
    assert (row["means"], row["target_name"], row["actor_name"]) == ("start", "admin", None)


def test_a_session_in_the_header_is_no_key(panel: Stand) -> None:
    mira = panel.person(f"mira-{uuid4()}")
    assert mira.client.headers[API_KEY_HEADER] == mira.token
    mira.client.post("/keys", json={"name": "one"})
    row = entry(panel, actor_id=mira.id, action="key_create")
    assert (row["means"], row["key_id"]) == ("session", None)


def test_an_operator_who_reads_what_others_run_is_recorded_once_an_hour(fresh_panel: Stand) -> None:
    mira = fresh_panel.person("mira")
    hers = fresh_panel.run(owner=mira.id).begin().finish()
    nobodys = fresh_panel.run().begin().finish()
    paths = (
        *(f"/executions/{hers.fid}", f"/executions/{hers.fid}/log", f"/outputs/raw/{hers.fid}"),
        *(f"/outputs/events/{hers.fid}", f"/executions/{hers.fid}/events.jsonl"),
        f"/api/dashboard/execution/{hers.fid}/details",
    )
    for path in paths:
        assert mira.client.get(path).status_code == 200
        assert fresh_panel.get(path.replace(hers.fid, nobodys.fid)).status_code == 200
    # A list and a status hold no contents.
    assert fresh_panel.get("/executions").status_code == 200
    assert fresh_panel.get(f"/outputs/status/{hers.fid}").status_code == 200
    asked = {"action": "contents_read"}
    assert fresh_panel.json("/audit", params=asked)["items"] == []
    for path in paths:
        assert fresh_panel.get(path).status_code == 200
    [read] = fresh_panel.json("/audit", params=asked)["items"]
    assert (read["actor_name"], read["target_kind"], read["target_id"]) == (
        "admin",
        "execution",
        hers.fid,
    )
    assert (read["outcome"], read["means"]) == ("ok", "session")
    again = fresh_panel.run(owner=mira.id).begin().finish()
    with fresh_panel.stream(f"/outputs/main/{again.fid}"):
        assert fresh_panel.json("/audit", params=asked)["items"][0]["target_id"] == again.fid
