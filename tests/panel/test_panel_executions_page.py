"""The list of executions: what it shows, its filters and pages, and doing something to many."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled
from pydantic import SecretStr

from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.panel.executions import bulk as bulk_module
from kodosumi_prefect.settings import write_address
from tests.panel.panel_runs import Run, Stand, fetch, serving
from tests.services import Place, record_prefect
from tests.spooler.recording import execute

NOWHERE = "00000000-0000-4000-8000-000000000000"  # the id of no execution
HTML = {"accept": "text/html"}


@pytest.fixture
def panel(fresh_panel: Stand) -> Stand:
    return fresh_panel


@pytest.fixture
def with_prefect(place: Place) -> Iterator[Stand]:
    """A panel on the database and the Prefect that flows of ``place`` use."""
    settings = place.settings.model_copy(update={"database_url": SecretStr(place.database)})
    record_prefect(place.settings, place.api_url)
    with serving(settings) as stand:
        yield stand
    write_address(place.settings, "prefect", None)


def shown(panel: Stand, client: Any = None, **asked: Any) -> list[str]:
    """The fids that the page lists."""
    answer = (client or panel.client).get("/executions", params=asked)
    assert answer.status_code == 200, answer.text
    return re.findall(r'<tr [^>]*data-fid="([^"]+)"', answer.text)


def test_filters_narrow_down_alone_and_together(panel: Stand) -> None:
    good = panel.run(flow_name="digest", tags=["nightly", "it's \\ odd"]).begin(city="Oslo")
    bad = panel.run(flow_name="digest", tags=["weekly"]).begin(city="Bergen").fail()
    other = panel.run(flow_name="review", tags=["nightly"]).begin(city="Bergen").finish()
    assert shown(panel) == [other.fid, bad.fid, good.fid]
    assert shown(panel, status="error") == [bad.fid]
    assert shown(panel, status=["error", "running"]) == [bad.fid, good.fid]
    assert shown(panel, flow="digest") == [bad.fid, good.fid]
    assert shown(panel, tag="nightly") == [other.fid, good.fid]
    assert shown(panel, tag="it's \\ odd") == [good.fid]
    assert shown(panel, tag="night") == []
    assert shown(panel, q="berg") == [other.fid, bad.fid]
    assert shown(panel, q="BERGEN", flow="digest", status="error", tag="weekly") == [bad.fid]
    assert shown(panel, q="bergen", tag="weekly", status="finished") == []
    # As a form without a script sends it.
    assert shown(panel, q="", status="", flow="", owner="", tag="", last="") == shown(panel)


def test_a_span_of_time_narrows_down(panel: Stand) -> None:
    old, new = panel.run().begin(), panel.run().begin()
    execute(
        panel.database,
        "UPDATE kodosumi.execution SET started_at = '2026-02-03 04:05:06+00' "
        f"WHERE fid = '{old.fid}'",
    )
    assert shown(panel, last="hour") == [new.fid]
    assert shown(panel, last="week") == [new.fid]
    assert shown(panel, to="2026-02-03T04:05:07Z") == [old.fid]
    assert shown(panel, **{"from": "2026-02-03T05:05:06+01:00", "to": "2026-02-04"}) == [old.fid]
    assert shown(panel, **{"from": "2026-02-03T04:05:07"}) == [new.fid]


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "last=year",
        "from=yesterday",
        "to=99999-01-01",
        "from=0001-01-01T00:00%2B23:59",
        "before=x",
        f"before={NOWHERE}",
        f"after={NOWHERE}",
        "owner=" + "x" * 201,
    ],
)
def test_a_tampered_filter_or_cursor_gets_a_clear_page(panel: Stand, query: str) -> None:
    run = panel.run().begin()
    answer = panel.get(f"/executions?{query}", headers=HTML)
    assert answer.status_code == 422
    assert "<h1>Unprocessable" in answer.text
    both = panel.get(f"/executions?before={run.fid}&after={run.fid}", headers=HTML)
    assert both.status_code == 422


@pytest.mark.parametrize("text", ["\x00", "' OR 1=1 --", "x:* & !y | (z)", "\\", "%", "<->", "😀"])
def test_whatever_is_typed_is_searched_and_nothing_else(panel: Stand, text: str) -> None:
    panel.run(summary="plain").begin()
    assert shown(panel, q=text) == []
    assert shown(panel, tag=text, flow=text) == []


def test_pages_lead_to_both_ends(panel: Stand) -> None:
    fids = [panel.run(flow_name="many").put().fid for _ in range(60)][::-1]
    panel.run(flow_name="else").put()
    path, pages = "/executions?flow=many", []
    while path:
        text = panel.get(path).text
        pages.append(re.findall(r'data-fid="([^"]+)"', text))
        found = re.search(r'href="([^"]+)" rel="next"', text)
        path = found[1].replace("&amp;", "&") if found else ""
    assert [len(page) for page in pages] == [25, 25, 10]
    assert [fid for page in pages for fid in page] == fids
    back = re.search(r'href="([^"]+)" rel="prev"', text)
    assert back is not None
    text = panel.get(back[1].replace("&amp;", "&")).text
    assert re.findall(r'data-fid="([^"]+)"', text) == pages[1]
    back = re.search(r'href="([^"]+)" rel="prev"', text)
    assert back is not None
    text = panel.get(back[1].replace("&amp;", "&")).text
    assert re.findall(r'data-fid="([^"]+)"', text) == pages[0]
    assert 'rel="prev"' not in text


def test_a_row_tells_attempts_questions_owner_and_runtime(panel: Stand) -> None:
    mira = panel.person("Mira")
    run = panel.run(owner=mira.id).begin()
    run.attempt = 2
    run.status("running")
    execute(
        panel.database,
        "UPDATE kodosumi.execution SET open_locks = 2, started_at = now() - interval '900 s' "
        f"WHERE fid = '{run.fid}'",
    )
    execute(
        panel.database,
        "UPDATE kodosumi.event SET ts = now() - interval '90 s' WHERE attempt = 2",
    )
    text = panel.get("/executions").text
    assert "×2" in text and "2 open questions" in text and 'href="/waiting"' in text
    assert ">Mira</td>" in text and "1 min 3" in text
    assert re.search(r'<rect width="100.0" [^>]*data-begun="20', text)
    own = mira.client.get("/executions").text
    assert run.fid in own and 'name="owner"' not in own and ">Mira</td>" not in own


def test_people_see_their_own_and_operators_filter_by_owner(panel: Stand) -> None:
    mira, noor = panel.person("Mira Bell"), panel.person("Noor")
    hers, his = panel.run(owner=mira.id).begin(), panel.run(owner=noor.id).begin()
    assert shown(panel, owner=mira.id) == [hers.fid]
    assert shown(panel, q="bell") == [hers.fid]
    assert shown(panel, mira.client) == [hers.fid]
    assert shown(panel, mira.client, owner=noor.id) == []
    assert shown(panel, mira.client, q="noor") == []
    execute(panel.database, f"UPDATE kodosumi.role SET name = 'Zoe' WHERE id = '{noor.id}'")
    assert shown(panel, q="zo") == [his.fid]
    assert mira.client.get("/executions/count").json() == {"count": 1, "more": False}


def test_changes_know_the_filters_of_the_page(panel: Stand) -> None:
    mira = panel.person("Mira")
    one, two = panel.run(flow_name="a").begin(), panel.run(flow_name="b", owner=mira.id).begin()
    since = panel.json("/timeline/changes")["timestamp"]
    one.finish()
    two.finish()
    asked = {"since": since, "flow": "a", "last": "hour"}
    found = panel.json("/timeline/changes", params=asked)
    assert [item["fid"] for item in found["update"]] == [one.fid]
    assert found["delete"] == [two.fid]
    found = panel.json("/timeline/changes", params={"since": since, "status": "running"})
    assert (found["update"], found["delete"]) == ([], sorted([one.fid, two.fid]))
    assert panel.get("/timeline/changes?status=x").status_code == 422


def test_a_fragment_is_rows_alone(panel: Stand) -> None:
    run = panel.run().begin()
    text = panel.get("/executions?fragment=true").text
    assert "<html" not in text and f'id="e-{run.fid}"' in text


def bulk(panel: Stand, wish: dict[str, Any], client: Any = None, **asked: Any) -> Any:
    answer = (client or panel.client).post("/executions/bulk", json=wish, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_all_that_match_are_archived_in_pieces_and_others_stay(panel: Stand) -> None:
    gone = [panel.run(flow_name="old").begin().finish() for _ in range(23)]
    kept = panel.run(flow_name="new").begin().finish()
    first = bulk(panel, {"action": "archive"}, flow="old")
    assert (first["done"], first["failed"], first["next"]) == (20, [], gone[3].fid)
    second = bulk(panel, {"action": "archive", "before": first["next"]}, flow="old")
    assert (second["done"], second["failed"], second["next"]) == (3, [], None)
    assert shown(panel) == [kept.fid]


def test_what_is_over_or_someone_elses_is_told_and_holds_up_nothing(panel: Stand) -> None:
    mira = panel.person("Mira")
    over = panel.run(owner=mira.id, summary="Done").begin().finish()
    foreign, missing = panel.run().begin().finish(), str(uuid4())
    fids = [over.fid, foreign.fid, missing]
    found = bulk(panel, {"action": "cancel", "fids": fids}, mira.client)
    why = {one["fid"]: one["why"] for one in found["failed"]}
    assert found["done"] == 0 and why[over.fid] == "it has ended"
    assert why[missing] == "there is no such execution" and foreign.fid in why
    found = bulk(panel, {"action": "archive", "fids": fids}, mira.client)
    assert found["done"] == 1 and len(found["failed"]) == 2
    assert shown(panel) == [foreign.fid]


def test_files_that_go_along_when_runs_are_run_again_are_named(panel: Stand) -> None:
    mira = panel.person("Mira of files")
    mine = panel.run(owner=mira.id).begin()
    foreign, none = panel.run().begin(), panel.run(owner=mira.id).begin()
    for run, count in ((mine, 6), (foreign, 1)):
        files = [
            StoredFile(f"in/{n}.txt", f"objects/{run.fid}/{n}", 1_000, "0" * 64, "text/plain")
            for n in range(count)
        ]
        left = StoredFile("out/left", f"objects/{run.fid}/left", 5, "0" * 64, "text/plain")
        run.put(run.event(Kind.UPLOAD, payload_of([*files, left])))

    def told(*fids: str, client: Any = mira.client) -> str | None:
        answer = client.get("/executions/given", params={"fid": list(fids)})
        return str(found) if (found := answer.raise_for_status().json()["files"]) else None

    named = "0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 1 more (6.0 kB)"
    assert told(mine.fid) == f"with the files that it was given: {named}"
    assert told(mine.fid, foreign.fid, none.fid) == (
        f"with the files that 1 of them were given: {named}"
    )
    assert told(foreign.fid) is told(none.fid) is None
    both = told(mine.fid, foreign.fid, none.fid, client=panel.client)
    assert both is not None and "2 of them were given: 0.txt, 0.txt, 1.txt" in both


def test_runs_are_run_again_with_their_files_or_without(
    panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    async def again(*_: Any, with_files: bool, **__: Any) -> str:
        asked.append(with_files)
        return str(uuid4())

    monkeypatch.setattr(bulk_module, "run_again", again)
    wish = {"action": "again", "fids": [panel.run().begin().finish().fid]}
    for more in ({}, {"with_files": True}, {"with_files": False}):
        assert bulk(panel, wish | more)["done"] == 1
    assert asked == [True, True, False]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"action": "drop"},
        {"action": "cancel", "fids": ["x"]},
        {"action": "cancel", "fids": [str(uuid4())] * 21},
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(panel: Stand, wish: dict[str, Any]) -> None:
    assert panel.client.post("/executions/bulk", json=wish).status_code == 422


@prefect.flow
def adding(a: int, b: dict[str, Any]) -> None: ...


def recorded(panel: Stand, run: FlowRun) -> Run:
    """The execution of a flow run that is over."""
    made = panel.run(deployment_id=str(run.deployment_id) if run.deployment_id else None)
    made.fid = str(run.id)
    return made.begin(**run.parameters).finish()


def test_a_run_is_started_again_with_its_inputs_and_linked(with_prefect: Stand) -> None:
    panel = with_prefect
    with get_client(sync_client=True) as client:
        flow = client.create_flow(adding)
        deployment = client.create_deployment(flow, f"again-{uuid4()}")
        old = client.create_flow_run_from_deployment(
            deployment, parameters={"a": 1, "b": {"c": ["d"]}}, tags=["mine"]
        )
    run = recorded(panel, old)
    alone = panel.run(summary="Alone").begin().finish()
    found = bulk(panel, {"action": "again", "fids": [run.fid, alone.fid]})
    assert found["done"] == 1
    assert [one["title"] for one in found["failed"]] == ["Alone"]
    (row,) = fetch(
        panel.database,
        f"SELECT fid::text, owner, inputs FROM kodosumi.execution WHERE again_of = '{run.fid}'",
    )
    with get_client(sync_client=True) as client:
        new = client.read_flow_run(row["fid"])
    assert new.deployment_id == deployment and new.parameters == old.parameters
    assert "mine" in new.tags and new.id != old.id
    assert f'href="/executions/{run.fid}">rerun of {run.fid[:8]}' in panel.get("/executions").text
    assert f'href="/executions/{row["fid"]}"' in panel.get(f"/executions/{run.fid}").text
    assert f'href="/executions/{run.fid}"' in panel.get(f"/executions/{row['fid']}").text


def test_a_run_whose_secret_inputs_are_gone_says_so(with_prefect: Stand) -> None:
    panel = with_prefect
    launch = {"flow": "digest", "payload": str(uuid4())}
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(adding), f"secret-{uuid4()}")
        old = client.create_flow_run_from_deployment(
            deployment,
            parameters={"entry_point": "a:b", "inputs": {"key": "********"}, "launch": launch},
        )
    run = recorded(panel, old)
    found = bulk(panel, {"action": "again", "fids": [run.fid]})
    assert found["done"] == 0 and "secret inputs were deleted" in found["failed"][0]["why"]


def test_waiting_runs_are_cancelled_together(with_prefect: Stand) -> None:
    panel = with_prefect
    with get_client(sync_client=True) as client:
        runs = [
            client.create_flow_run(adding, parameters={"a": 1, "b": {}}, state=Scheduled())
            for _ in "ab"
        ]
    flow = f"together-{uuid4()}"
    for run in runs:
        made = panel.run(flow_name=flow)
        made.fid = str(run.id)
        made.begin()
    found = bulk(panel, {"action": "cancel"}, flow=flow)
    assert (found["done"], found["failed"], found["next"]) == (2, [], None)
    with get_client(sync_client=True) as client:
        assert {client.read_flow_run(run.id).state_name for run in runs} == {"Cancelled"}


def test_an_execution_is_found_from_its_first_batch_on(panel: Stand) -> None:
    run = panel.run(summary="Sheep counting")
    run.put(Event(datetime.now(UTC).timestamp(), "status", "starting"))
    assert shown(panel, q="sheep") == [run.fid]
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert shown(panel, **{"from": soon}) == []
