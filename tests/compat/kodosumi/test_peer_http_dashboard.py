"""What Kodosumi's analytics page draws, from executions that these tests make."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect.events import serialize
from kodosumi_prefect.panel.executions import dashboard_api
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.panel.impatient import impatient
from tests.panel.panel_runs import Person, Run, Stand, serving

BASE = "/api/dashboard"
TRACEBACK = "Traceback (most recent call last):\n  File …\nValueError: wrong value"
ROW = {"fid", "user_id", "agent_name", "status", "meta", "error", "error_timestamp", "start_time"}
ROW |= {"end_time", "runtime", "upload_count", "download_count"}
ABOUT = {"summary": "Hymn", "description": None, "tags": ["songs"], "version": "2"}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres) -> Iterator[Stand]:
    """A panel whose people each have executions of their own."""
    settings = impatient(postgres, "of_peer_dashboard_tests", tmp_path_factory.mktemp("panel"))
    with serving(settings) as stand:
        yield stand
        stand.close_runs()


@pytest.fixture
def mira(board: Stand, request: pytest.FixtureRequest) -> Person:
    return board.person(f"Mira {request.node.originalname[5:60]} {uuid4().hex[:8]}")


@pytest.fixture
def noor(board: Stand, request: pytest.FixtureRequest) -> Person:
    return board.person(f"Noor {request.node.originalname[5:60]} {uuid4().hex[:8]}")


def begun(board: Stand, owner: str | None, **header: Any) -> Run:
    """A run whose stream begins as those of launches do."""
    run = board.run(owner=owner, **header)
    run.put(
        run.event("status", "starting"),
        run.event("inputs", serialize({"topic": "me"})),
        run.event("meta", serialize({"fid": run.fid, **ABOUT})),
    )
    return run.status("running")


def asked(person: Person, path: str, **parameters: Any) -> Any:
    answer = person.client.get(f"{BASE}/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def fids(answer: dict[str, Any], name: str = "agents") -> list[str]:
    return [item["fid"] for item in answer[name]]


def long_ago(board: Stand, run: Run, column: str, hours: float) -> None:
    with psycopg.connect(board.database) as connection:
        connection.execute(
            f"UPDATE kodosumi.execution SET {column} = now() - make_interval(hours => %s)"
            " WHERE fid = %s",
            (hours, run.fid),
        )


def test_an_execution_is_told_as_kodosumi_tells_it(board: Stand, mira: Person):
    before = time.time()
    run = begun(board, mira.id, summary="Hymn", tags=["songs"]).finish()
    answer = asked(mira, "running-agents")
    assert answer.keys() == {"total", "agents", "filters"} and answer["total"] == 1
    named = dict.fromkeys(("agent_name", "user", "status", "search"))
    assert answer["filters"] == {"hours": 24, **named}
    [item] = answer["agents"]
    assert item.keys() == ROW | {"user_name"}
    start, end = item.pop("start_time"), item.pop("end_time")
    assert before - 1 <= start <= end <= time.time() + 1
    assert item.pop("runtime") == pytest.approx(end - start, abs=1e-3)
    assert item == {
        "fid": run.fid,
        "user_id": mira.id,
        "user_name": mira.name,
        "agent_name": "Hymn",
        "status": "finished",
        "meta": {"dict": {"fid": run.fid, **ABOUT}},
        "error": None,
        "error_timestamp": None,
        "upload_count": 0,
        "download_count": 0,
    }


def test_a_failure_has_its_traceback_and_its_time(board: Stand, mira: Person):
    run = begun(board, mira.id).fail(TRACEBACK)
    [item] = asked(mira, "running-agents")["agents"]
    assert (item["status"], item["error"]) == ("error", TRACEBACK)
    assert item["start_time"] <= item["error_timestamp"] <= item["end_time"] + 0.1
    answer = asked(mira, "errors")
    assert answer == {
        "total": 1,
        "errors": [
            {
                "fid": run.fid,
                "user_id": mira.id,
                "timestamp": item["error_timestamp"],
                "error": {"error": TRACEBACK},
            }
        ],
    }


def test_a_long_traceback_keeps_its_end_in_lists(board: Stand, mira: Person):
    begun(board, mira.id).fail(f"Traceback\n{'x' * 100_000}\nValueError: the reason")
    [item] = asked(mira, "errors")["errors"]
    error = item["error"]["error"]
    assert len(error) == dashboard_api.LONGEST and error.endswith("\nValueError: the reason")


def test_failures_that_no_event_tells_of_have_their_line(board: Stand, mira: Person):
    run = begun(board, mira.id).fail(TRACEBACK)
    with psycopg.connect(board.database) as connection:  # as retention does
        connection.execute(
            "DELETE FROM kodosumi.event WHERE execution_id ="
            " (SELECT id FROM kodosumi.execution WHERE fid = %s)",
            (run.fid,),
        )
    [item] = asked(mira, "running-agents")["agents"]
    assert (item["error"], item["meta"]) == ("ValueError: wrong value", None)
    assert item["error_timestamp"] == item["end_time"]


@pytest.mark.parametrize(
    ("payload", "meta"),
    [
        ("no JSON", None),
        ("[1]", None),
        ('{"dict": {"n": NaN}}', None),
        ("[" * 5000, None),
        (f'{{"dict": {{"n": {10**30}}}}}', {"dict": {"n": 1e30}}),
    ],
)
def test_whatever_describes_an_execution_its_list_is_answered(
    board: Stand, mira: Person, payload: str, meta: Any
):
    run = board.run(owner=mira.id, flow_name="some-flow")
    run.say("meta", payload)
    [item] = asked(mira, "running-agents")["agents"]
    assert (item["fid"], item["meta"]) == (run.fid, meta)
    assert asked(mira, f"execution/{run.fid}/details")["metadata"]["meta"] == meta


def test_what_nothing_names_is_unknown(board: Stand, mira: Person):
    board.run(owner=mira.id, flow_name=None).status("running")
    assert asked(mira, "running-agents")["agents"][0]["agent_name"] == "Unknown"


def test_lists_have_their_order_and_their_span(board: Stand, mira: Person):
    runs = [begun(board, mira.id).fail(TRACEBACK) for _ in range(3)]
    young, middle, old = (run.fid for run in reversed(runs))
    long_ago(board, runs[0], "created_at", 30)
    long_ago(board, runs[1], "created_at", 3)
    assert fids(asked(mira, "running-agents")) == [young, middle]
    assert fids(asked(mira, "running-agents", hours=1)) == [young]
    assert fids(asked(mira, "running-agents", hours=48)) == [young, middle, old]
    assert fids(asked(mira, "timeline", hours=48), "executions") == [old, middle, young]
    timeline = asked(mira, "timeline")
    assert timeline.keys() == {"total", "executions"} and timeline["total"] == 2
    assert {frozenset(item) for item in timeline["executions"]} == {frozenset(ROW)}
    for hours in (0, -1):
        assert asked(mira, "running-agents", hours=hours)["agents"] == []
    assert asked(mira, "timeline", hours=10**12)["total"] == 3  # Kodosumi: 500
    # Failures count when they happened, not when their runs began.
    assert fids(asked(mira, "errors"), "errors") == [young, middle, old]
    long_ago(board, runs[2], "ended_at", 30)
    assert asked(mira, "errors")["total"] == 2


def test_errors_are_counted_beyond_their_limit(board: Stand, mira: Person):
    runs = [begun(board, mira.id).fail(TRACEBACK).fid for _ in range(3)]
    two = asked(mira, "errors", limit=2)
    assert (two["total"], fids(two, "errors")) == (3, [runs[2], runs[1]])
    assert asked(mira, "errors", limit=0) == {"total": 3, "errors": []}
    assert len(asked(mira, "errors", limit=10**7)["errors"]) == 3


def test_filters_choose_as_kodosumi_chooses(board: Stand, mira: Person):
    hymn = begun(board, mira.id, summary="Hymn 100%").finish().fid
    plain = begun(board, mira.id, flow_name="night-report").fail(TRACEBACK).fid
    every = [plain, hymn]
    for chosen, parameters in (
        ([hymn], {"agent_name": "hYM"}),
        ([plain], {"agent_name": "report"}),
        ([], {"agent_name": "nobody's"}),
        (every, {"agent_name": "", "user": "", "status": "", "search": ""}),
        ([plain], {"status": "ERROR"}),
        ([], {"status": "err"}),
        (every, {"user": mira.id}),
        ([], {"user": mira.id[:8]}),
        ([hymn], {"search": "100%"}),
        ([], {"search": "1_0"}),
        ([hymn], {"search": hymn[:13].upper()}),
        (every, {"search": mira.id[:8]}),
        ([plain], {"search": "error"}),
        ([], {"search": "ValueError"}),
        ([], {"search": "hymn", "status": "error"}),
        ([], {"search": "\x00"}),
    ):
        answer = asked(mira, "running-agents", **parameters)
        assert (fids(answer), answer["total"]) == (chosen, len(chosen)), parameters
        assert parameters.items() <= answer["filters"].items()


def test_more_than_an_answer_holds_is_counted(
    board: Stand, mira: Person, monkeypatch: pytest.MonkeyPatch
):
    runs = [begun(board, mira.id).fid for _ in range(3)]
    monkeypatch.setattr(dashboard_api, "MOST", 2)
    answer = asked(mira, "running-agents")
    assert (answer["total"], fids(answer)) == (3, [runs[2], runs[1]])
    answer = asked(mira, "timeline")
    assert (answer["total"], fids(answer, "executions")) == (3, [runs[1], runs[2]])
    monkeypatch.setattr(dashboard_api, "SCANNED", 1)
    assert asked(mira, "running-agents")["total"] == 1
    assert asked(mira, "agent-stats")["total_executions"] == 1


def test_figures_are_of_what_one_may_see(board: Stand, mira: Person, noor: Person):
    nothing = {"total_executions": 0, "by_status": {}, "by_user": {}}
    assert asked(mira, "agent-stats") == nothing | {"avg_runtime": 0, "error_rate": 0}
    begun(board, mira.id).finish()
    begun(board, mira.id)
    begun(board, noor.id)
    for _ in range(2):
        begun(board, mira.id).fail()
    figures = asked(mira, "agent-stats")
    runtimes = [item["runtime"] for item in asked(mira, "running-agents")["agents"]]
    assert figures.pop("avg_runtime") == pytest.approx(sum(runtimes) / 4, abs=1e-3)
    assert figures == {
        "total_executions": 4,
        "by_status": {"error": 2, "finished": 1, "running": 1},
        "by_user": {mira.id: 4},
        "error_rate": 0.5,
    }
    everybody = board.json(f"{BASE}/agent-stats")["by_user"]
    assert (everybody[mira.id], everybody[noor.id]) == (4, 1)


def test_one_execution_comes_with_its_events(board: Stand, mira: Person):
    run = begun(board, mira.id).lines("one", "two").fail(TRACEBACK)
    answer = asked(mira, f"execution/{run.fid}/details")
    assert answer.keys() == {"metadata", "events", "total_events"}
    [item] = asked(mira, "running-agents")["agents"]
    item.pop("user_name")
    assert answer["metadata"] == item
    events = answer["events"]
    assert answer["total_events"] == len(events)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    stored = board.json(f"/outputs/events/{run.fid}")["items"]
    assert [(event["kind"], event["message"], event["timestamp"]) for event in events] == [
        (event["kind"], event["payload"], event["timestamp"]) for event in stored
    ]
    rest = asked(mira, f"execution/{run.fid}/details", after=events[-3]["id"])
    assert (rest["events"], rest["total_events"]) == (events[-2:], len(events))


def test_an_execution_without_files_lists_none(board: Stand, mira: Person):
    run = begun(board, mira.id)
    assert asked(mira, f"execution/{run.fid}/files") == {
        "fid": run.fid,
        "uploads": [],
        "downloads": [],
        "upload_count": 0,
        "download_count": 0,
    }


def test_others_see_nothing_and_operators_everything(board: Stand, mira: Person, noor: Person):
    run = begun(board, mira.id).fail(TRACEBACK)
    unowned = begun(board, None).fail(TRACEBACK)
    of_one = [f"execution/{run.fid}/{part}" for part in ("details", "files")]
    for path, name in (
        ("running-agents", "agents"),
        ("errors", "errors"),
        ("timeline", "executions"),
    ):
        hers = asked(noor, path, user=mira.id)
        assert (hers["total"], hers[name]) == (0, []), path
        assert fids(board.json(f"{BASE}/{path}"), name).count(run.fid) == 1
        assert unowned.fid in fids(board.json(f"{BASE}/{path}"), name)
    assert asked(noor, "agent-stats")["total_executions"] == 0
    for path in of_one:
        assert noor.client.get(f"{BASE}/{path}").status_code == 404, path
        assert board.get(f"{BASE}/{path}").status_code == 200, path
    for path in ("running-agents", "errors", "timeline", "agent-stats", *of_one):
        assert board.connect().get(f"{BASE}/{path}").status_code == 401, path


def test_what_is_archived_is_in_no_list(board: Stand, mira: Person):
    run = begun(board, mira.id).fail(TRACEBACK)
    assert mira.client.delete(f"/outputs/{run.fid}").status_code == 204
    assert asked(mira, "running-agents")["agents"] == []
    assert asked(mira, "errors")["total"] == 0
    assert asked(mira, "agent-stats")["total_executions"] == 0


def test_who_awaits_an_answer_awaits_on_the_dashboard_too(board: Stand, mira: Person):
    run = begun(board, mira.id)
    told = {"name": "ask", "lid": "one", "data": None, "elements": [], "expires": time.time() + 60}
    run.say("lock", serialize(told))
    assert fids(asked(mira, "running-agents", status="awaiting")) == [run.fid]


@pytest.mark.parametrize("query", ["hours=x", "hours=1.5", f"hours={10**30}", "limit=x"])
def test_a_number_that_is_none_is_refused(board: Stand, query: str):
    refused = board.get(f"{BASE}/errors?{query}")
    assert refused.status_code == 422 and query.partition("=")[0] in refused.json()["detail"]
