"""Lists of executions and what changed in them."""

import psycopg
import pytest

from kodosumi_prefect.database.retention import Retention
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from tests.panel.panel_runs import Stand
from tests.spooler.recording import execute


@pytest.fixture
def panel(fresh_panel: Stand) -> Stand:
    return fresh_panel


def test_the_list_is_newest_first_and_pages_to_its_end(panel: Stand) -> None:
    fids = [panel.run().begin(number=i).fid for i in range(7)]
    seen, offset = [], None
    while True:
        found = panel.json(
            "/timeline/list", params={"pp": 3} | ({"offset": offset} if offset else {})
        )
        seen += [item["fid"] for item in found["items"]]
        if (offset := found["offset"]) is None:
            break
    assert seen == fids[::-1]
    assert set(found) == {"items", "query", "offset"}


def test_an_item_says_what_lists_show(panel: Stand) -> None:
    run = panel.run(summary="Sums", tags=["t"]).begin(x=[1]).finish()
    (item,) = panel.json("/timeline/list")["items"]
    assert item.pop("runtime") >= 0
    assert item.pop("startup") <= item.pop("finish")
    assert item == {
        "fid": run.fid,
        "tags": ["t"],
        "summary": "Sums",
        "inputs": {"dict": {"x": [1]}},
        "status": "finished",
        "locks": [],
    }


def test_a_query_finds_all_its_words_and_nul_finds_nothing(panel: Stand) -> None:
    run = panel.run(summary="Count The Sheep").begin(field="Meadow")
    panel.run(summary="Count the goats").begin()
    found = panel.json("/timeline/list", params={"q": "sheep MEADOW"})
    assert [item["fid"] for item in found["items"]] == [run.fid]
    assert panel.json("/timeline/list", params={"q": "\x00"})["items"] == []
    assert panel.json("/timeline/list", params={"q": "sh%p"})["items"] == []


@pytest.mark.parametrize("query", ["pp=0", "pp=x", "offset=x", "pp=100000"])
def test_bad_paging_is_422(panel: Stand, query: str) -> None:
    assert panel.get(f"/timeline/list?{query}").status_code == 422


@pytest.mark.parametrize("since", ["x", "-1", "9" * 30])
def test_a_bad_counter_is_422(panel: Stand, since: str) -> None:
    assert panel.get(f"/timeline/changes?since={since}").status_code == 422


def test_without_since_only_the_counter_comes(panel: Stand) -> None:
    panel.run().begin()
    found = panel.json("/timeline/changes")
    assert found["update"] == [] and found["delete"] == []
    assert set(found) == {"update", "delete", "timestamp", "query"}


def test_changes_bring_what_is_new_or_changed_and_nothing_else(panel: Stand) -> None:
    old, changed = panel.run().begin(), panel.run().begin()
    since = panel.json("/timeline/changes")["timestamp"]
    changed.finish()
    new = panel.run().begin()
    found = panel.json("/timeline/changes", params={"since": since})
    assert {item["fid"]: item["status"] for item in found["update"]} == {
        changed.fid: "finished",
        new.fid: "running",
    }
    old.lines("a plain event changes no list")
    assert panel.json(f"/timeline/changes?since={found['timestamp']}")["update"] == []


def test_a_transaction_that_commits_late_is_not_missed(panel: Stand) -> None:
    late, early = panel.run().begin(), panel.run().begin()
    since = panel.json("/timeline/changes")["timestamp"]
    with psycopg.connect(panel.database) as slow:
        slow.execute(
            "UPDATE kodosumi.execution SET summary = 'late', "
            "changed = pg_current_xact_id()::text::bigint WHERE fid = %s",
            (late.fid,),
        )
        early.finish()
        found = panel.json(f"/timeline/changes?since={since}")
        assert [item["fid"] for item in found["update"]] == [early.fid]
    found = panel.json(f"/timeline/changes?since={found['timestamp']}")
    assert late.fid in [item["fid"] for item in found["update"]]
    found = panel.json(f"/timeline/changes?since={found['timestamp']}")
    assert found["update"] == []


async def test_archived_executions_are_deletes(panel: Stand, settings: Settings) -> None:
    run, other = panel.run().begin().finish(), panel.run().begin()
    since = panel.json("/timeline/changes")["timestamp"]
    async with Reader(panel.database, settings.database_schema) as reader:
        await reader.execute("set_archived", fids=[run.fid], archived=True)
    found = panel.json(f"/timeline/changes?since={since}")
    assert found["delete"] == [run.fid]
    assert [i["fid"] for i in panel.json("/timeline/list")["items"]] == [other.fid]


def test_what_no_longer_matches_the_query_leaves_the_list(panel: Stand) -> None:
    run = panel.run().begin()
    since = panel.json("/timeline/changes?q=running")["timestamp"]
    run.finish()
    found = panel.json(f"/timeline/changes?since={since}&q=running")
    assert (found["update"], found["delete"]) == ([], [run.fid])
    found = panel.json(f"/timeline/changes?since={since}&q=finished")
    assert [item["fid"] for item in found["update"]] == [run.fid]


def test_what_retention_deleted_is_among_the_deletes(fresh_panel: Stand) -> None:
    run = fresh_panel.run().begin().finish()
    execute(fresh_panel.database, "UPDATE kodosumi.execution SET ended_at = '2020-01-01'")
    since = fresh_panel.json("/timeline/changes")["timestamp"]
    with Retention(fresh_panel.database, "kodosumi") as retention:
        assert [part.executions for part in retention.executions(30)] == [1]
    found = fresh_panel.json("/timeline/changes", params={"since": since})
    assert (found["update"], found["delete"]) == ([], [run.fid])
    following = fresh_panel.json("/timeline/changes", params={"since": found["timestamp"]})
    assert following["delete"] == []
