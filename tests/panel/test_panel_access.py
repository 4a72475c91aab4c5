"""Whose executions one sees, and what one may do to them."""

import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import prefect
import pytest
from fastapi.routing import APIRoute
from prefect.client.orchestration import get_client
from prefect.states import Running
from pydantic import SecretStr

from kodosumi_prefect.settings import Settings, write_address
from kodosumi_prefect.vocabulary import SIGNATURE_HEADER
from tests.panel.panel_runs import Person, Run, Stand, serving
from tests.services import Place, record_prefect
from tests.spooler.recording import execute


@pytest.fixture
def panel(fresh_panel: Stand) -> Stand:
    return fresh_panel


@pytest.fixture
def mira(panel: Stand) -> Person:
    return panel.person("Mira")


@pytest.fixture
def noor(panel: Stand) -> Person:
    return panel.person("Noor")


def paths(fid: str) -> list[str]:
    """All addresses under which an execution can be looked at."""
    outputs = [f"/outputs/{w}/{fid}" for w in ("status", "raw", "html", "events", "tasks", "trace")]
    streams = [f"/outputs/{w}/{fid}" for w in ("stream", "main", "stdio")]
    parts = ("head", "live", "events.jsonl", "tasks", "output", "steps", "log", "raw")
    parts += ("trace/spans", "trace/steps", "trace/totals")
    pages = [f"/executions/{fid}", *(f"/executions/{fid}/{part}" for part in parts)]
    return outputs + streams + pages


def listed(client: httpx.Client) -> list[str]:
    return [item["fid"] for item in client.get("/timeline/list").json()["items"]]


def test_an_execution_of_somebody_else_is_not_there(
    panel: Stand, mira: Person, noor: Person
) -> None:
    run = panel.run(owner=mira.id).begin().finish("secret result")
    for path in paths(run.fid):
        assert mira.client.get(path).status_code == 200, path
        assert panel.client.get(path).status_code == 200, path
        foreign, unknown = (
            noor.client.get(path),
            noor.client.get(path.replace(run.fid, str(uuid4()))),
        )
        assert foreign.status_code == unknown.status_code == 404, path
        assert "secret result" not in foreign.text


def test_every_route_of_an_execution_is_among_those_that_are_tried(panel: Stand) -> None:
    fid = str(uuid4())
    known = {path.replace(fid, "{fid}") for path in paths(fid)}
    routes = {
        route.path
        for route in panel.app.routes
        if isinstance(route, APIRoute)
        and "GET" in (route.methods or ())
        and route.path.startswith(("/outputs/", "/executions/"))
        and "{fid}" in route.path
    }
    assert routes <= known


def test_lists_hold_ones_own_and_everything_for_operators(
    panel: Stand, mira: Person, noor: Person
) -> None:
    hers = panel.run(owner=mira.id, summary="of mira").begin()
    his = panel.run(owner=noor.id, summary="of noor").begin()
    nobodys = panel.run(summary="of a cron").begin()
    assert listed(mira.client) == [hers.fid]
    assert listed(noor.client) == [his.fid]
    assert listed(panel.client) == [nobodys.fid, his.fid, hers.fid]
    page = mira.client.get("/executions").text
    assert "of mira" in page and "of noor" not in page and "of a cron" not in page
    found = mira.client.get("/timeline/list", params={"q": "of noor"}).json()["items"]
    assert found == []


def test_pages_of_a_list_do_not_reach_through_what_is_foreign(
    panel: Stand, mira: Person, noor: Person
) -> None:
    own = []
    for _ in range(5):
        own.append(panel.run(owner=mira.id).begin().fid)
        panel.run(owner=noor.id).begin()
    seen, offset = [], None
    while True:
        query = {"pp": 2} | ({"offset": offset} if offset else {})
        found = mira.client.get("/timeline/list", params=query).json()
        seen += [item["fid"] for item in found["items"]]
        if (offset := found["offset"]) is None:
            break
    assert seen == own[::-1]


def test_changes_tell_of_ones_own_only(panel: Stand, mira: Person, noor: Person) -> None:
    since = mira.client.get("/timeline/changes").json()["timestamp"]
    hers = panel.run(owner=mira.id).begin().finish()
    his = panel.run(owner=noor.id).begin().finish()
    told = mira.client.get("/timeline/changes", params={"since": since}).json()
    assert ([i["fid"] for i in told["update"]], told["delete"]) == ([hers.fid], [])
    told = mira.client.get("/timeline/changes", params={"since": since, "q": "no match"}).json()
    assert (told["update"], told["delete"]) == ([], [hers.fid])
    for fid, owner in ((hers.fid, mira.id), (his.fid, noor.id)):
        execute(panel.database, f"DELETE FROM kodosumi.execution WHERE fid = '{fid}'")
        execute(
            panel.database,
            f"INSERT INTO kodosumi.deleted (fid, owner) VALUES ('{fid}', '{owner}')",
        )
    told = mira.client.get("/timeline/changes", params={"since": since}).json()
    assert told["delete"] == [hers.fid]
    told = panel.json("/timeline/changes", params={"since": since})
    assert set(told["delete"]) == {hers.fid, his.fid}


def test_executions_without_owner_are_for_operators_or_for_all(
    settings: Settings, start_panel: Callable[..., Stand]
) -> None:
    closed = start_panel(settings)
    opened = start_panel(settings.model_copy(update={"unowned": "all"}))
    run = closed.run().begin()
    mira = closed.person("Mira")
    assert listed(mira.client) == []
    assert mira.client.get(f"/outputs/status/{run.fid}").status_code == 404
    with opened.connect(mira.token) as client:
        assert listed(client) == [run.fid]
        assert client.get(f"/outputs/status/{run.fid}").status_code == 200
        assert client.post(f"/outputs/{run.fid}/cancel").status_code == 403
        assert client.delete(f"/outputs/{run.fid}").status_code == 403


def test_the_owner_is_told_by_name(panel: Stand, mira: Person) -> None:
    run = panel.run(owner=mira.id).begin()
    strange = panel.run(owner="from before").begin()
    assert panel.json(f"/outputs/status/{run.fid}")["username"] == "Mira"
    assert panel.json(f"/outputs/status/{strange.fid}")["username"] == "from before"
    assert "Mira" in panel.get(f"/executions/{run.fid}").text
    found = panel.json("/timeline/list", params={"q": "mira"})["items"]
    assert [item["fid"] for item in found] == [run.fid]


def test_executions_of_a_deleted_account_are_for_operators(panel: Stand, mira: Person) -> None:
    run = panel.run(owner=mira.id).begin()
    assert panel.client.delete(f"/role/{mira.id}").status_code == 204
    again = panel.person("Mira")
    assert listed(again.client) == []
    assert panel.json(f"/outputs/status/{run.fid}")["username"] == mira.id


def test_waiting_for_an_execution_ends_when_it_is_ones_own(panel: Stand, mira: Person) -> None:
    run = Run(panel.database, owner=mira.id)
    threading.Timer(0.5, run.begin).start()
    answer = mira.client.get(f"/outputs/status/{run.fid}", params={"extended": True})
    assert answer.json()["status"] in ("starting", "running")
    run.close()


def test_putting_away_what_is_over_takes_it_from_lists(
    panel: Stand, mira: Person, noor: Person
) -> None:
    run = panel.run(owner=mira.id).begin().finish()
    since = mira.client.get("/timeline/changes").json()["timestamp"]
    assert noor.client.delete(f"/outputs/{run.fid}").status_code == 404
    assert listed(mira.client) == [run.fid]
    assert mira.client.delete(f"/outputs/{run.fid}").status_code == 204
    assert listed(mira.client) == []
    told = mira.client.get("/timeline/changes", params={"since": since}).json()
    assert told["delete"] == [run.fid]
    assert mira.client.get(f"/outputs/status/{run.fid}").status_code == 200


def test_of_many_only_ones_own_are_put_away(panel: Stand, mira: Person, noor: Person) -> None:
    own = [panel.run(owner=mira.id).begin().finish().fid for _ in range(3)]
    foreign = panel.run(owner=noor.id).begin().finish().fid
    unknown = str(uuid4())
    answer = mira.client.request(
        "DELETE", "/outputs", json={"fid": [*own, own[0], foreign, unknown]}
    )
    assert answer.status_code == 200
    assert sorted(answer.json()["deletes"]) == sorted(own)
    assert set(answer.json()["failed"]) == {foreign, unknown}
    assert listed(panel.client) == [foreign]
    for body in ({}, {"fid": []}, {"fid": own[0]}):
        assert mira.client.request("DELETE", "/outputs", json=body).status_code == 422, body
    assert mira.client.request("DELETE", "/outputs", json={"fid": ["x"]}).status_code == 404


def test_what_runs_is_not_put_away_while_prefect_is_away(panel: Stand) -> None:
    run = panel.run().begin()
    write_address(panel.settings, "prefect", {"url": "http://127.0.0.1:1/api"})
    with prefect.settings.temporary_settings({prefect.settings.PREFECT_API_URL: None}):
        assert panel.client.delete(f"/outputs/{run.fid}").status_code == 502
    assert listed(panel.client) == [run.fid]


@pytest.fixture
def with_prefect(place: Place) -> Iterator[Stand]:
    """A panel on the Prefect that flows of ``place`` use."""
    settings = place.settings.model_copy(update={"database_url": SecretStr(place.database)})
    record_prefect(place.settings, place.api_url)
    with serving(settings) as stand:
        yield stand
    write_address(place.settings, "prefect", None)


@prefect.flow
def waiting() -> None: ...


def test_owners_and_operators_cancel_and_put_away_what_runs(with_prefect: Stand) -> None:
    panel = with_prefect
    mira, noor = panel.person(f"Mira {uuid4().hex[:8]}"), panel.person(f"Noor {uuid4().hex[:8]}")
    with get_client(sync_client=True) as client:
        made = [client.create_flow_run(waiting, state=Running()) for _ in range(2)]
        runs = [panel.run(owner=mira.id) for _ in made]
        for run, flow_run in zip(runs, made, strict=True):
            run.fid = str(flow_run.id)
            run.begin()
        assert noor.client.post(f"/outputs/{runs[0].fid}/cancel").status_code == 404
        assert noor.client.post(f"/outputs/{uuid4()}/cancel").status_code == 404
        assert client.read_flow_run(made[0].id).state_name == "Running"
        assert mira.client.post(f"/outputs/{runs[0].fid}/cancel").status_code == 202
        assert client.read_flow_run(made[0].id).state_name == "Cancelling"
        assert mira.client.delete(f"/outputs/{runs[1].fid}").status_code == 204
        assert client.read_flow_run(made[1].id).state_name == "Cancelling"
        assert runs[1].fid not in listed(mira.client)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/lock/a/b"),
        ("POST", "/lock/a/b"),
        ("GET", "/timeline/list/facts"),
        ("GET", "/facts"),
    ],
)
def test_a_signature_is_let_through_to_the_facts_of_locks_only(
    panel: Stand, method: str, path: str
) -> None:
    answer = httpx.request(
        method, f"{panel.url}{path}", headers={SIGNATURE_HEADER: "x"}, trust_env=False
    )
    assert answer.status_code == 401
    assert "sign in" in answer.json()["detail"]
