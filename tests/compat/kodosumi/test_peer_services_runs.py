"""Strangers' services and their client: nothing but import root and base URL is changed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from kodosumi_prefect.client import AnsweredError, FieldsError, NotFoundError
from kodosumi_prefect.client import Client as OurClient
from kodosumi_prefect.stack.ports import free_port
from tests.compat.kodosumi.moving import SERVICES, moved_to
from tests.e2e.running import BIN, PASSWORD, REPOSITORY, Up
from tests.waiting import wait_for


class Client:
    """A client as one is written for Kodosumi: it knows a base URL, a name and a password."""

    def __init__(self, base_url: str, password: str, ports: dict[str, int]) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=60, trust_env=False)
        answer = self.http.post("/login", data={"name": "admin", "password": password})
        self.http.headers["KODOSUMI_API_KEY"] = answer.json()["KODOSUMI_API_KEY"]
        self.http.cookies.clear()
        self.ports = ports

    def url(self, service: str, path: str = "") -> str:
        return f"/-/127.0.0.1/{self.ports[service]}/-/{path}"

    def launch(self, service: str, path: str = "", **inputs: Any) -> str:
        answer = self.http.post(self.url(service, path), json=inputs)
        assert answer.status_code == 200, answer.text
        assert "errors" not in answer.json(), answer.text
        return str(answer.json()["result"])

    def status(self, fid: str) -> dict[str, Any]:
        answer = self.http.get(f"/outputs/status/{fid}", params={"extended": "true"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, fid: str, status: str = "finished") -> Any:
        """The final result's envelope of an execution, once it has ended so."""

        def over() -> dict[str, Any] | None:
            found = self.status(fid)
            return found if found["status"] in ("finished", "error") else None

        found = wait_for(over, 120, f"the end of {fid}")
        assert found["status"] == status, found
        return json.loads(found["final"])

    def run(self, service: str, path: str = "", **inputs: Any) -> Any:
        return self.ended(self.launch(service, path, **inputs))

    def stream(self, fid: str, path: str = "stream") -> list[tuple[str, str]]:
        """Kinds and payloads of a stream to its ``eof``."""
        found: list[tuple[str, str]] = []
        with self.http.stream("GET", f"/outputs/{path}/{fid}", params={"raw": ""}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            kind, data = "", []
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    kind = value
                elif field == "data":
                    data.append(value)
                elif not line and kind:
                    if kind == "eof":
                        return found
                    found += [(kind, "\n".join(data).partition(":")[2])]
                    kind, data = "", []
        raise AssertionError(f"no eof: {found}")

    def asked(self, fid: str) -> str:
        """The address of the lock that an execution waits for."""
        [lid] = wait_for(lambda: self.status(fid)["locks"], 60, "a lock")
        assert self.status(fid)["status"] == "awaiting"
        return f"/lock/{fid}/{lid}"


@pytest.fixture(scope="module")
def client(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The client, of a panel that seven services are registered with."""
    folder = moved_to(tmp_path_factory.mktemp("moved"))
    ports = {name: free_port() for name in SERVICES}
    environment = up.environment | {
        "PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL": up.panel,
        "PYTHONPATH": f"{folder}:{REPOSITORY}",
        "PATH": f"{BIN}:{up.environment['PATH']}",
    }
    serve = [sys.executable, "-m", "tests.compat.kodosumi.moving", *map(str, ports.values())]
    services = subprocess.Popen(serve, env=environment, cwd=folder)
    try:
        urls = [f"http://127.0.0.1:{port}/openapi.json" for port in ports.values()]
        for url in urls:
            wait_for(partial(is_there, url, services), 120, url)
        client = Client(up.panel, PASSWORD, ports)
        answer = client.http.post("/flow/register", json={"url": urls})
        assert answer.is_success, answer.text
        assert {item["source"] for item in answer.json()} == set(urls)
        yield client
        client.http.post("/flow/unregister", json={"url": urls}).raise_for_status()
        client.http.close()
    finally:
        services.terminate()
        services.wait(30)


def is_there(url: str, services: "subprocess.Popen[bytes]") -> bool:
    assert services.poll() is None, f"the services ended with {services.poll()}"
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_the_tutorials_news_search_keeps_its_dates_on_the_way_to_ray(client: Client):
    asked = {"texts": "Acme\n\nOther", "start": "2024-01-02", "end": "2024-12-31"}
    fid = client.launch("company_news.query", **asked)
    items = client.ended(fid)["__list__"]
    assert sorted(item["dict"]["output"] for item in items) == [
        "Acme from 02 Jan 2024 to 31 Dec 2024",
        "Other from 02 Jan 2024 to 31 Dec 2024",
    ]
    assert [item["dict"]["error"] for item in items] == [None, None]
    events = client.stream(fid)
    kinds = [kind for kind, _ in events]
    assert kinds.count("result") == 6 and ("stdout", "Job completed (2/2)") in events
    order = [kinds.index("inputs"), kinds.index("meta"), events.index(("status", "running"))]
    assert events[0] == ("status", "starting") and order == sorted(order)
    assert kinds[-2] == "final" and events[-1] == ("status", "finished")
    wrong = {"texts": "", "start": "2024-02-01", "end": "2024-01-01"}
    answer = client.http.post(client.url("company_news.query"), json=wrong).json()
    assert answer["errors"] == {
        "texts": ["Please specify a query to search for news."],
        "start": ["Must be before or equal to end date."],
        "_global_": [],
    }


def test_a_client_lists_looks_launches_follows_and_deletes(client: Client):
    items = client.http.get("/flow", params={"q": "catalogue", "pp": 5}).json()["items"]
    [item] = [item for item in items if item["url"] == client.url("catalogue")]
    assert (item["summary"], item["author"]) == ("Catalogue", "somebody@example.com")
    assert (item["organization"], item["deprecated"]) == ("Shop", True)
    assert sorted(item["tags"]) == ["all", "shop"] and item["method"] == "GET"
    form = client.http.get(item["url"]).json()
    assert form["openapi_extra"]["x-version"] == "1.2"
    assert [element["type"] for element in form["elements"]] == ["text", "text", "submit"]
    fid = client.launch("catalogue", what="echo", how="colon")
    assert client.ended(fid) == {"dict": {"what": "echo", "how": "colon"}}
    status = client.status(fid)
    assert (status["summary"], status["entry_point"]) == ("Catalogue", "catalogue:echo")
    assert status["locks"] == [] and status["version"] == "1.2"
    assert client.http.get(f"/outputs/raw/{fid}").json() == json.loads(status["final"])
    assert "echo" in client.http.get(f"/outputs/html/{fid}").text
    assert client.stream(fid, "stdio") == []
    assert {kind for kind, _ in client.stream(fid, "main")} == {"status", "inputs", "meta", "final"}
    before = client.http.get("/timeline/changes").json()["timestamp"]
    [first] = client.http.get("/timeline/list", params={"pp": 1}).json()["items"]
    assert (first["fid"], first["status"]) == (fid, "finished")
    assert first["startup"] and first["finish"] and first["runtime"] >= 0
    assert client.http.delete(f"/outputs/{fid}").status_code == 204
    changes = client.http.get("/timeline/changes", params={"since": before}).json()
    assert fid in changes["delete"]


@pytest.mark.parametrize(
    ("what", "how", "final"),
    [
        ("echo", "dot", {"dict": {"what": "echo", "how": "dot"}}),
        ("swapped", "callable", {"Markdown": {"body": "# one\nswapped"}}),
        ("untraced", "dot", {"__list__": [{"int": 1}, {"str": "a"}, {"dict": {"x": "dot"}}]}),
        ("item", "colon", {"Item": {"name": "chair", "legs": 4}}),
    ],
)  # fmt: skip
def test_entrypoints_are_named_and_take_arguments_in_every_way(
    client: Client, what: str, how: str, final: Any
):
    assert client.run("catalogue", what=what, how=how) == final


def test_an_entrypoint_that_raises_says_so_at_the_end(client: Client):
    fid = client.launch("catalogue", what="complains", how="dot")
    assert client.ended(fid, "error") == {"Text": {"body": "said by the service"}}
    fid = client.launch("catalogue", what="fails", how="callable")
    assert "wrong value" in client.ended(fid, "error")["Text"]["body"]
    [(_, traceback)] = [event for event in client.stream(fid) if event[0] == "error"]
    assert traceback.startswith("Traceback") and "ValueError: wrong value" in traceback


def test_endpoints_marked_as_entries_launch_by_any_method(client: Client):
    answer = client.http.get(client.url("catalogue", "entry"), params={"topic": "hello"})
    fid = answer.headers["kodosumi_launch"]
    assert answer.json()["fid"] == fid and client.ended(fid) == {"dict": {"topic": "hello"}}
    body = {"deep": [1, {"a": None}]}
    answer = client.http.post(client.url("catalogue", "entry-post"), json=body)
    assert client.ended(answer.headers["kodosumi_launch"]) == {"dict": body}
    fid = client.launch("catalogue", "named", what="this", how="")
    client.ended(fid)
    found = client.status(fid)
    assert (found["summary"], found["description"]) == ("About this", "Its own")


def test_an_object_with_kickoff_is_run_as_a_crew(client: Client):
    fid = client.launch("hymn", topic="rain")
    assert client.ended(fid) == {"dict": {"raw": "Oh rain"}}
    events = client.stream(fid)
    assert ("stdout", "singing about rain") in events
    agents = [json.loads(payload) for kind, payload in events if kind == "agent"]
    assert len(agents) == 2 and "writer" in json.dumps(agents[0])
    assert [json.loads(p) for k, p in events if k == "action"] == [{"dict": {"thought": "a rhyme"}}]
    assert [json.loads(p) for k, p in events if k == "result"] == [
        {"dict": {"raw": "the hymn is written"}}
    ]


def test_people_are_asked_and_their_answers_are_checked(client: Client):
    fid = client.launch("approvals", which="plain")
    lock = client.asked(fid)
    form = client.http.get(lock).json()
    assert [element["type"] for element in form] == ["markdown", "text", "boolean", "submit"]
    assert form[0]["text"] == "Draft 1"
    answer = client.http.post(lock, json={"verdict": "", "sure": "on", "more": "3"}).json()
    assert answer["result"] == {"verdict": "", "sure": True, "more": "3"}
    assert client.ended(fid) == {"dict": answer["result"]}
    assert client.http.get(lock).status_code == 404
    kinds = [kind for kind, _ in client.stream(fid)]
    assert kinds.index("lock") < kinds.index("lease") < kinds.index("final")


def test_a_lease_function_checks_what_was_posted(client: Client):
    fid = client.launch("approvals", which="checked")
    lock = client.asked(fid)
    assert client.http.get(lock).json()[1]["value"] == "of 2"
    refused = client.http.post(lock, json={"verdict": ""}).json()
    assert refused["errors"] == {"verdict": ["say something"], "_global_": ["general"]}
    assert refused["elements"]
    answer = client.http.post(lock, json={"verdict": "yes", "more": "3"}).json()
    assert answer["result"]["draft"] == 2
    assert ["more", "3"] in answer["result"]["seen"] and ["verdict", "yes"] in answer["result"][
        "seen"
    ]
    assert client.ended(fid) == {"dict": answer["result"]}


def test_a_lock_that_nobody_answers_raises_timeout_error(client: Client):
    assert client.run("approvals", which="hasty") == {"str": "nobody: TimeoutError"}


def test_everything_that_python_has_reaches_the_entrypoint_with_its_type(client: Client):
    found = client.run("parcels", name="all")["dict"]
    assert (found["type"], found["equal"]) == ("dict", True), found["repr"]
    for name, type_, text in (
        ("none", "NoneType", "None"),
        ("tuple", "tuple", "(1, (2,))"),
        ("bytes", "bytes", r"b'\x00\xff'"),
        ("dataclass", "Parcel", "Parcel(weight=Decimal('2.5'), to=Address("),
    ):
        found = client.run("parcels", name=name)["dict"]
        assert found["type"] == type_ and found["repr"].startswith(text)


def test_a_tracer_says_everything_from_async_code(client: Client):
    fid = client.launch("chatter", which="calls")
    assert client.ended(fid) == {"Answer": {"a": 3, "b": ["x"]}}
    events = [event for event in client.stream(fid) if event[0] not in ("status", "inputs", "meta")]
    said = [(kind, json.loads(p) if kind in ("result", "action") else p) for kind, p in events]
    assert ("debug", "d1\nd2") in said
    assert [value for kind, value in said if kind == "result"] == [
        {"Text": {"body": "t1\nt2"}},
        {"HTML": {"body": "<b>h1</b>\nh2"}},
        {"Markdown": {"body": "# m1\n\nm2"}},
        {"str": "r1"},
        {"dict": {"r": 2}},
        {"Answer": {"a": 1, "b": []}},
        {"__list__": [{"int": 1}, {"Answer": {"a": 2, "b": []}}]},
        {"Markdown": {"body": "own"}},
    ]
    actions = [value for kind, value in said if kind == "action"]
    assert actions == [{"str": "a1"}, {"int": 2}, {"float": 1.5}, {"bool": True}]
    warnings = [value for kind, value in said if kind == "stderr"]
    assert warnings[0] == "w1" and "ValueError: inside" in warnings[1]
    assert warnings[2] == "to stderr" and ("stdout", "printed") in said


def test_a_tracer_says_everything_from_sync_code(client: Client):
    fid = client.launch("chatter", which="sync_calls")
    assert client.ended(fid) == {"str": "done"}
    events = client.stream(fid)
    kinds = [kind for kind, _ in events]
    assert kinds.count("result") == 6 and kinds.count("action") == 2
    assert ("debug", "d1\nd2") in events and ("stdout", "printed") in events
    warned = [payload for kind, payload in events if kind == "stderr"]
    assert warned == ["w1"]
    logged = [payload for kind, payload in events if kind == "debug"]  # of a level and a logger
    assert any(payload.endswith("logged") for payload in logged)


def test_a_tracer_travels_to_tasks_and_actors_of_ray(client: Client):
    fid = client.launch("chatter", which="remotes")
    assert client.ended(fid) == {"dict": {"numbers": [0, 1], "actor": "went"}}
    events = client.stream(fid)
    assert {payload for kind, payload in events if kind == "debug"} == {"task 0", "task 1", "actor"}
    results = [json.loads(payload)["dict"]["n"] for kind, payload in events if kind == "result"]
    assert sorted(results) == [0, 1]


def test_a_run_is_followed_live_and_ended_by_its_deletion(client: Client):
    fid = client.launch("chatter", which="long")
    with client.http.stream("GET", f"/outputs/stdio/{fid}", params={"raw": ""}) as response:
        assert any(line.endswith(":begun") for line in response.iter_lines())
    assert client.http.delete(f"/outputs/{fid}").status_code == 204
    items = client.http.get("/timeline/list", params={"pp": 50}).json()["items"]
    assert fid not in [item["fid"] for item in items]


def test_locks_of_kodosumis_docs_are_answered_by_our_client(client: Client):
    key = client.http.headers["KODOSUMI_API_KEY"]
    with OurClient(str(client.http.base_url), key=key, trust_env=False) as ours:
        url = client.url("approvals")
        plain, checked = (ours.launch(url, {"which": which}) for which in ("plain", "checked"))
        asked: dict[str, str] = {}
        for fid in (plain, checked):
            for event in ours.follow(fid):
                if event.kind == "lock":
                    asked[fid] = event.value["lid"]
                    break
        open_ones = {lock.fid: lock for lock in ours.locks()}
        assert {open_ones[fid].lid for fid in asked} == set(asked.values())
        shown = [element["type"] for element in ours.elements(plain, asked[plain])]
        assert shown == ["markdown", "text", "boolean", "submit"]
        ours.answer(plain, asked[plain], {"verdict": "good", "sure": "on"})
        assert ours.result(plain, timeout=120)["verdict"] == "good"
        with pytest.raises(FieldsError, match="verdict: say something"):
            ours.answer(checked, asked[checked], {"verdict": ""})
        ours.answer(checked, asked[checked], {"verdict": "fine"})
        seen = [["_global_", None], ["verdict", "fine"]]
        assert ours.result(checked, timeout=120) == {"draft": 2, "seen": seen}
        with pytest.raises((AnsweredError, NotFoundError)):
            ours.answer(checked, asked[checked], {"verdict": "late"})
