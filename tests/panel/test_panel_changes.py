"""The stream of changes over HTTP: its form, resuming, who sees what, and pages."""

import json
import threading
import time
from itertools import islice
from typing import Any

import httpx
import pytest

from kodosumi_prefect.events import serialize
from kodosumi_prefect.stream import changes
from tests.panel.asked_questions import add_team, asking
from tests.panel.panel_runs import Run, Stand, until


def ask(run: Run, lid: str) -> None:
    payload = {"name": "approve", "lid": lid, "data": None, "expires": time.time() + 600}
    run.say("lock", serialize(payload))


def now(panel: Stand) -> str:
    return str(panel.json("/changes?wait=0")["next"])


def page(panel: Stand, since: str, **more: Any) -> dict[str, Any]:
    return dict(panel.json("/changes", params={"since": since, "wait": 0, **more}))


def told(response: httpx.Response) -> Any:
    """Name, id and data of each server-sent event, as a client reads them."""
    event, data, id_ = "", "", ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            event = value
        elif field == "data":
            data = value
        elif field == "id":
            id_ = value
        elif not line:
            yield event, id_, json.loads(data)


def news(response: httpx.Response) -> Any:
    return (each for each in told(response) if each[0] != "alive")


def test_changes_of_executions_and_locks_come_as_they_happen(panel: Stand) -> None:
    with panel.stream("/changes", params={"since": now(panel)}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        coming = news(response)
        run = panel.run(summary="Said").begin()
        names = []
        while not names or names[-1] != "running":
            event, _, item = next(coming)
            assert (event, item["fid"], item["summary"]) == ("execution", run.fid, "Said")
            names.append(item["status"])
        ask(run, "a")
        assert [(e, i["status"]) for e, _, i in islice(coming, 2)] == [
            ("execution", "awaiting"),
            ("lock", "open"),
        ]
        panel.client.post(f"/lock/{run.fid}/a", json={"ok": True}).raise_for_status()
        (_, _, execution), (_, _, lock) = islice(coming, 2)
        assert (execution["status"], lock["status"]) == ("running", "leased")
        assert lock["answered_by"] == panel.json("/role")[0]["name"]
        assert lock["answered"] >= lock["opened"]


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_who_comes_back_misses_nothing_and_gets_nothing_twice(panel: Stand, how: str) -> None:
    since = begin = now(panel)
    fids = [panel.run().begin().fid for _ in range(6)]
    got: list[str] = []
    while len(got) < len(fids):
        headers = {"Last-Event-ID": since} if how != "query" else {}
        params = {"header": {}, "query": {"since": since}, "both": {"since": "0"}}[how]
        with panel.stream("/changes", params=params, headers=headers) as response:
            for _, position, item in islice(news(response), 2):
                since = position
                got.append(item["fid"])
    assert got == [item["fid"] for item in page(panel, begin)["items"]]
    assert sorted(got) == sorted(fids)
    assert page(panel, since)["items"] == []


def test_quiet_times_have_alive_with_a_position(panel: Stand) -> None:
    with panel.stream("/changes", params={"kind": "lock"}) as response:
        coming = told(response)
        first = next(coming)
        assert (first[0], first[2]["timestamp"] > 1e9) == ("alive", True)
        panel.run().begin()  # nothing that this one wants
        until(lambda: page(panel, next(coming)[1])["items"] == [])


def test_pages_go_on_where_they_ended(panel: Stand) -> None:
    since = now(panel)
    fids = {panel.run().begin().fid for _ in range(3)}
    got = []
    more = True
    while more:
        answer = page(panel, since, limit=1)
        got += [item["fid"] for item in answer["items"]]
        since, more = answer["next"], answer["more"]
        assert answer["reset"] is False
    assert (len(got), set(got)) == (3, fids)


def test_a_page_waits_for_the_next_change(panel: Stand) -> None:
    since = now(panel)
    answers: list[dict[str, Any]] = []

    def look() -> None:
        client = panel.connect(panel.token)
        answers.append(client.get("/changes", params={"since": since, "wait": 20}).json())

    waiting = threading.Thread(target=look)
    waiting.start()
    until(lambda: len(panel.app.state.panel.changes))
    run = panel.run().begin()
    waiting.join(20)
    assert [item["fid"] for item in answers[0]["items"]] == [run.fid]
    assert page(panel, since, wait=0.01, kind="lock")["items"] == []
    assert page(panel, answers[0]["next"], kind="deletion", wait=0.01)["more"] is False


def test_everybody_gets_what_they_may_see(panel: Stand) -> None:
    ann, bob = panel.person(f"ann-{time.time_ns()}"), panel.person(f"bob-{time.time_ns()}")
    since = now(panel)
    mine, yours = panel.run(owner=ann.id).begin(), panel.run(owner=bob.id).begin()
    ask(mine, "a")
    ask(yours, "b")
    query = {"since": since, "wait": 0}
    for person, run in ((ann, mine), (bob, yours)):
        items = person.client.get("/changes", params=query).json()["items"]
        assert [(i["kind"], i["fid"]) for i in items] == [
            ("execution", run.fid),
            ("lock", run.fid),
        ]
        assert items[0]["username"] == person.name
    assert {i["fid"] for i in page(panel, since)["items"]} == {mine.fid, yours.fid}
    assert {i["fid"] for i in page(panel, since, owner=bob.id)["items"]} == {yours.fid}
    others = ann.client.get("/changes", params={**query, "owner": bob.id}).json()
    assert others["items"] == []
    with ann.client.stream("GET", "/changes", params={"since": since}) as response:
        assert {item["fid"] for _, _, item in islice(news(response), 2)} == {mine.fid}


def test_questions_come_to_those_who_are_asked(panel: Stand) -> None:
    ann, bob = panel.person(f"ann-{time.time_ns()}"), panel.person(f"bob-{time.time_ns()}")
    team = f"legal-{time.time_ns()}"
    add_team(panel, team, ann.name)
    query = {"since": now(panel), "wait": 0}
    run, _ = asking(panel, owner=bob.id, ask=[f"team:{team}"])
    [item] = ann.client.get("/changes", params=query).json()["items"]
    assert (item["kind"], item["fid"], item["status"]) == ("lock", run.fid, "open")
    kinds = [i["kind"] for i in bob.client.get("/changes", params=query).json()["items"]]
    assert kinds == ["execution", "lock"]


def test_what_is_asked_for_narrows_down(panel: Stand) -> None:
    since = now(panel)
    run = panel.run(flow_name="of-changes", app_url="http://service/").begin()
    panel.run().begin().finish()
    ask(run, "a")
    for wanted, kinds in (
        ({"flow": "of-changes"}, ["execution", "lock"]),
        ({"service": "http://service/"}, ["execution", "lock"]),
        ({"kind": "lock"}, ["lock"]),
        ({"kind": "execution,deletion", "flow": "of-changes"}, ["execution"]),
        ({"status": ["open", "error"]}, ["lock"]),
        ({"status": "awaiting"}, ["execution"]),
        ({"service": "http://service"}, []),
    ):
        items = page(panel, since, **wanted)["items"]
        assert [item["kind"] for item in items] == kinds, wanted


@pytest.mark.parametrize(
    "query",
    [{"since": "x"}, {"since": "7"}, {"kind": "x"}, {"status": "x"}, {"wait": "61"}],
)
def test_what_makes_no_sense_is_refused(panel: Stand, query: dict[str, str]) -> None:
    asked = panel.get("/changes", params=query)
    assert (asked.status_code, asked.json()["status_code"]) == (422, 422)
    assert next(iter(query)) in asked.json()["detail"]


def test_a_position_of_a_future_that_was_undone_is_told(panel: Stand) -> None:
    run = panel.run().begin()
    future = f"{2**60 + 1}:0:"
    answer = page(panel, future)
    assert answer["reset"] is True
    with panel.stream("/changes", headers={"Last-Event-ID": future}) as response:
        coming = told(response)
        assert next(coming)[0] == "reset"
        assert any(item["fid"] == run.fid for _, _, item in coming if "fid" in item)


def test_a_reader_that_dawdles_costs_no_memory_and_gets_what_is_new(
    panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "RING", 1)
    with panel.stream("/changes") as response:
        coming = news(response)
        runs = [panel.run(summary="x" * 2000).begin() for _ in range(3)]
        for _ in range(40):
            for run in runs:
                run.status("running", "Retrying").status("running")
        for run in runs:
            run.finish()
        over: list[str] = []
        for _, _, item in coming:
            if item["status"] == "finished":
                over.append(item["fid"])
                if len(over) == 3:
                    break
        assert sorted(over) == sorted(run.fid for run in runs)


def test_streams_of_changes_take_seats_and_end_with_the_panel(panel: Stand) -> None:
    state = panel.app.state.panel
    with panel.stream("/changes") as response:
        assert response.status_code == 200
        assert sum(state.streams.seats.values()) == 1
    until(lambda: not state.streams.seats and not len(state.changes))


def test_who_leaves_and_joins_a_team_is_told_of_it_without_reconnecting(panel: Stand) -> None:
    team = f"team-{time.time_ns()}"
    ann, bob = (panel.person(f"{name}-of-{team}") for name in ("ann", "bob"))
    add_team(panel, team, bob.name)
    _, early = asking(panel, None, ask=[f"team:{team}"])
    since = now(panel)

    def members(*people: Any) -> None:
        named = {"name": team, "members": [each.name for each in people]}
        panel.client.put(f"/team/{team}", json=named).raise_for_status()

    with ann.client.stream("GET", "/changes", params={"since": since}) as response:
        coming = news(response)
        members(ann, bob)
        assert next(coming)[2]["lid"] == early.partition("/")[2]  # is open, and asked of her now
        _, second = asking(panel, None, ask=[f"team:{team}"])
        assert next(coming)[2]["lid"] == second.partition("/")[2]
        members(bob)
        asking(panel, None, ask=[f"team:{team}"])
        panel.client.post(f"/lock/{second}", json={"stars": 4}).raise_for_status()
        own = panel.run(owner=ann.id).begin()
        assert next(coming)[2]["fid"] == own.fid
    changed = ann.client.get("/changes", params={"since": since, "wait": 0, "kind": "lock"}).json()
    assert changed["items"] == []


def test_who_is_called_or_active_again_is_told_of_what_is_asked_of_them(panel: Stand) -> None:
    name = f"lea-{time.time_ns()}"
    lea = panel.person(f"{name}-before")
    _, where = asking(panel, None, ask=[name])
    since = now(panel)
    query = {"since": since, "wait": 0, "kind": "lock"}
    assert lea.client.get("/changes", params=query).json()["items"] == []
    panel.client.put(f"/role/{lea.id}", json={"name": name}).raise_for_status()
    items = lea.client.get("/changes", params=query).json()["items"]
    assert [item["lid"] for item in items] == [where.partition("/")[2]]
