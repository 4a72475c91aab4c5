"""What the leader does beside following events: crashes, retention, what is deleted."""

import os
import platform
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from kodosumi_prefect.events import serialize
from kodosumi_prefect.observer import reconciler
from kodosumi_prefect.observer.dead import cause
from kodosumi_prefect.stream.rows import LiveExecution
from tests.observer.watching import Watch, api, made_run, observing
from tests.panel.panel_runs import Run
from tests.prefect_http import ask_prefect
from tests.spooler.recording import execute
from tests.waiting import wait_for

ELSEWHERE = {"process": {"host": "another-machine", "pid": 42, "started": 1.0}}


@pytest.fixture(autouse=True)
def soon_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of these tests needs 10 seconds to send its first heartbeat."""
    monkeypatch.setattr(reconciler, "CALM", 0.5)


def executed(watch: Watch, silent: float, pool: str | None = None) -> str:
    """A run that Prefect calls running and whose process fell silent some seconds ago."""
    if pool is None:
        fid = made_run(watch, state={"type": "RUNNING"})
    else:
        api(watch, "/work_pools/", name=pool, type="kodosumi-ray")
        flow = api(watch, "/flows/", name=f"deployed-{pool}")
        deployed = api(watch, "/deployments/", name="x", flow_id=flow["id"], work_pool_name=pool)
        path = f"/deployments/{deployed['id']}/create_flow_run"
        fid = api(watch, path, state={"type": "RUNNING"})["id"]
    run = Run(watch.database, **ELSEWHERE)
    run.fid = fid
    run.begin().lines("the last words").close()
    execute(
        watch.database,
        f"UPDATE kodosumi.execution SET heartbeat_at = now() - interval '{silent} s'"
        f" WHERE fid = '{fid}'",
    )
    return fid


def prefect_state(watch: Watch, fid: str) -> str:
    run = ask_prefect("GET", f"{watch.api_url}/flow_runs/{fid}").raise_for_status().json()
    return str(run["state"]["type"])


def test_a_run_whose_runner_lapsed_is_reported_crashed(watch: Watch) -> None:
    fid = executed(watch, 60)
    lives = executed(watch, 60)
    execute(
        watch.database,
        "INSERT INTO kodosumi.runner (fid, attempt, state, actor_name, node, pid, worker,"
        f" lease_until) VALUES ('{fid}', 1, 'running', 'runner-1', 'n1', 7, 'w1',"
        f" now() - interval '40 s'), ('{lives}', 1, 'running', 'runner-2', 'n1', 8, 'w1',"
        " now() + interval '1 hour')",
    )
    with observing(watch):
        found = watch.until_ended(fid)
    assert prefect_state(watch, fid) == "CRASHED"
    assert "Runner runner-1 on node n1 (pid 7) ended without reporting it" in found.row["error"]
    assert re.search(r"its last heartbeat was [6-8]\d", found.row["error"])
    assert re.search(r"worker w1 has not answered for it for [4-6]\d", found.row["error"])
    assert prefect_state(watch, lives) == "RUNNING"
    assert watch.recorded(lives).row["status"] == "running"


def test_a_run_of_our_pools_without_a_runner_is_reported_crashed(watch: Watch) -> None:
    fid = executed(watch, 60, pool=watch.tag)
    elsewhere = executed(watch, 60)
    with observing(watch):
        found = watch.until_ended(fid)
        assert prefect_state(watch, elsewhere) == "RUNNING"
    assert "no Runner executes the run" in found.row["error"]
    assert prefect_state(watch, fid) == "CRASHED"


def test_a_silent_process_whose_run_ended_has_its_stream_ended(watch: Watch) -> None:
    fid = executed(watch, 60)
    api(watch, f"/flow_runs/{fid}/set_state", state={"type": "COMPLETED"}, force=True)
    with observing(watch):
        found = watch.until_ended(fid)
    assert found.row["status"] == "finished"


def test_a_process_that_lives_ends_its_stream_itself(watch: Watch) -> None:
    fid = executed(watch, -60)
    with observing(watch, heartbeat_timeout=1.0):
        ended = time.monotonic()
        execute(
            watch.database,
            "UPDATE kodosumi.execution SET heartbeat_at = now() + interval '5 s'"
            f" WHERE fid = '{fid}'",
        )
        api(watch, f"/flow_runs/{fid}/set_state", state={"type": "COMPLETED"}, force=True)
        assert watch.until_ended(fid).row["status"] == "finished"
        assert time.monotonic() - ended > 5  # its own last words had time to come
        assert watch.recorded(fid).row["heartbeat_at"].timestamp() < time.time() - 0.9


def silent_execution(process: dict[str, Any], **runner: Any) -> LiveExecution:
    """One whose process has not reported for a while."""
    row = LiveExecution(
        fid="a",
        status="running",
        state_type="RUNNING",
        state_ts=0.0,
        attempt=1,
        process=process,
        opened=True,
        has_error=False,
        stale=True,
        id=1,
        open_locks=0,
        created_at=0.0,
        silent=None,
        has_runner=False,
        actor_name=None,
        node=None,
        pid=None,
        worker=None,
        lapsed=None,
    )
    return replace(row, **runner)


def test_the_cause_of_a_silence_is_only_told_where_it_is_known() -> None:
    here = {"host": platform.node(), "pid": os.getpid()}
    ours = frozenset({"ours"})
    assert cause(silent_execution(here), "ours", ours) is None  # this process lives
    gone = os.fork() or os._exit(0)
    os.waitpid(gone, 0)
    assert cause(silent_execution(here | {"pid": gone}), None, ours) == (
        f"Process {gone} on {platform.node()} ended without reporting it."
    )
    dead = silent_execution(here | {"pid": gone}, has_runner=True, lapsed=-5.0)
    assert cause(replace(dead, pid=os.getpid()), "ours", ours) is None  # its Runner tells how
    for runner in (replace(dead, pid=gone), replace(dead, pid=os.getpid(), lapsed=15.0)):
        assert cause(runner, "ours", ours) is not None
    away = {"host": "far", "pid": 1}
    assert cause(silent_execution(away), "another", ours) is None
    assert cause(silent_execution(away), "ours", ours) is not None
    assert cause(silent_execution(away, has_runner=True), "ours", ours) is None
    assert cause(silent_execution(away, has_runner=True, lapsed=5.0), "ours", ours) is None
    assert cause(silent_execution(away, has_runner=True, lapsed=15.0), "ours", ours) is not None


def test_the_leader_deletes_what_is_old(watch: Watch) -> None:
    old, young = Run(watch.database), Run(watch.database)
    for run in (old, young):
        run.begin().finish().close()
    execute(
        watch.database,
        f"UPDATE kodosumi.execution SET ended_at = '2020-01-01' WHERE fid = '{old.fid}'",
    )
    with observing(watch, retention_days=30):
        wait_for(lambda: not watch.known(old.fid), 20, "the old one to go")
    assert watch.known(young.fid)


def test_the_leader_reminds_people_and_ends_what_nobody_answers(watch: Watch) -> None:
    run = Run(watch.database, **ELSEWHERE)
    run.fid = made_run(watch, state={"type": "RUNNING"})
    told = {"name": "approve", "lid": "a", "expires": time.time() + 600, "on_expiry": 1}
    run.begin().say("lock", serialize(told | {"ask": ["owner"], "remind": [0.1]}))
    with observing(watch):
        steps = "SELECT step FROM kodosumi.lock_step ORDER BY id"
        done = [{"step": "asked"}, {"step": "reminded"}]
        wait_for(lambda: watch.rows(steps) == done, 30, "both steps")
        execute(watch.database, "UPDATE kodosumi.lock SET deadline = now() - interval '1 minute'")
        ended = "SELECT 1 FROM kodosumi.lock WHERE state = 'expired'"
        wait_for(lambda: watch.rows(ended), 30, "its end")
    run.close()


def test_a_run_deleted_in_prefect_ends_its_stream(watch: Watch) -> None:
    with observing(watch):
        fid = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
        wait_for(lambda: watch.known(fid) and watch.recorded(fid).row["inputs"], 30, "the row")

        assert ask_prefect("DELETE", f"{watch.api_url}/flow_runs/{fid}").status_code in (204, 404)
    # It says nothing in the events that Prefect streams of runs; the next leader asks at once.
    with observing(watch):
        found = watch.until_ended(fid)
    assert "deleted from Prefect" in found.row["error"]


def test_deployments_of_executions_are_named_also_those_of_before(watch: Watch) -> None:
    flow = api(watch, "/flows/", name=f"named-{watch.tag}")
    deployed = api(watch, "/deployments/", name="prod", flow_id=flow["id"])
    known, gone = (
        Run(watch.database, deployment_id=id_)
        for id_ in (deployed["id"], "00000000-0000-4000-8000-00000000dead")
    )
    for run in (known, gone):
        run.begin().finish().close()
    with observing(watch):
        wait_for(lambda: watch.recorded(gone.fid).row["deployment_name"] is not None, 30, "names")
        wait_for(lambda: watch.recorded(known.fid).row["deployment_name"], 30, "its name")
    assert watch.recorded(known.fid).row["deployment_name"] == "prod"
    assert watch.recorded(gone.fid).row["deployment_name"] == ""
