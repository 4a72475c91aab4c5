"""Flow runs that never heard of us become executions, by tags, deployments and work pools."""

import pytest
from prefect import tags, task
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from kodosumi_prefect import flow as kodosumi_flow
from kodosumi_prefect.events import serialize
from kodosumi_prefect.observer import logs as reading
from kodosumi_prefect.observer.logs import is_engines
from kodosumi_prefect.settings import use_settings
from tests.observer.watching import Watch, api, enter, made_run, observing
from tests.services import Event, Recorded
from tests.waiting import wait_for


def tasks_of(found: Recorded) -> list[Event]:
    """The events of task runs, told by the observer and not by a log."""
    return [e for e in found.events if e.kind == "debug" and "log" not in (e.source or {})]


def logged(found: Recorded) -> list[Event]:
    """The events of lines that were logged to Prefect."""
    return [e for e in found.events if e.source and "log" in e.source]


def test_a_plain_run_becomes_an_execution_with_states_logs_and_task_runs(watch: Watch) -> None:
    with observing(watch):
        fid = watch.plain(lines=300)
        watch.until_ended(fid)
        # What Prefect tells of with the end, or after it, is told behind it.
        wait_for(lambda: len(tasks_of(watch.recorded(fid))) == 4, 30, "its task runs")
        wait_for(lambda: len(logged(watch.recorded(fid))) == 304, 30, "its lines")
    found = watch.recorded(fid)
    assert [event.kind for event in found.events][:4] == ["status", "inputs", "meta", "status"]
    assert found.of("status") == ["starting", "running", "finished"]
    in_time = [e for e in found.events if not (e.source or {}).get("late")]
    assert in_time[-1].kind == "status"
    assert found.row["flow_name"] == "plain"
    assert found.row["process"] is None
    assert found.row["tags"] == [watch.tag]
    assert found.row["inputs"] == serialize({"lines": 300, "fails": False, "seconds": 0.0})
    logs = logged(found)
    said = [f"line {number}" for number in range(300)]
    assert [e.payload for e in logs] == [
        f"begun {fid}",
        *said,
        "doubling 1",
        "inside with 3",
        "doubling 3",
    ]
    told = tasks_of(found)
    assert sorted(e.payload.partition(": ")[2] for e in told) == ["Completed"] * 2 + ["Running"] * 2
    inside = [e for e in told if "subflow" in (e.source or {})]
    assert len(inside) == 2
    assert logs[-1].source is not None and logs[-1].source["task_run"]["name"].startswith("double-")


def test_a_plain_run_that_fails_tells_why(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LAST_LINES", 20)  # a busy Prefect takes longer to take a line
    with observing(watch):
        found = watch.until_ended(watch.plain(fails=True))
    assert found.row["status"] == "error"
    assert "ValueError: no luck today" in found.row["error"]
    (error,) = found.of("error")
    assert error.startswith("Traceback") and error.rstrip().endswith("ValueError: no luck today")
    assert found.of("status")[-1] == "error"


def test_runs_that_no_filter_names_are_left_alone(watch: Watch) -> None:
    with observing(watch):
        other = watch.plain(tag="someone-elses")
        fid = watch.plain()
        watch.until_ended(fid)
    assert not watch.known(other)


def test_work_pools_and_deployments_choose_too(watch: Watch) -> None:
    name = watch.tag
    pool = api(watch, "/work_pools/", name=name, type="process")
    assert pool["name"] == name
    made = api(watch, "/flows/", name=f"deployed-{name}")
    deployments = [
        api(watch, "/deployments/", name=d, flow_id=made["id"], work_pool_name=p)
        for d, p in (("here", name), ("there", None), ("elsewhere", None))
    ]
    chosen = {
        "observe_tags": [],
        "observe_work_pools": [name],
        "observe_deployments": [f"deployed-{name}/there"],
    }
    with observing(watch, **chosen):
        fids = [
            api(watch, f"/deployments/{d['id']}/create_flow_run", state={"type": "PENDING"})["id"]
            for d in deployments
        ]
        for fid in fids:
            enter(watch, fid, "CANCELLED", message="enough")
        ended = [watch.until_ended(fid) for fid in fids[:2]]
        wait_for(lambda: watch.recorded(fids[0]).row["work_pool"] == name, 20, "the work pool")
    assert not watch.known(fids[2])
    assert [found.row["error"] for found in ended] == ["Cancelled: enough"] * 2
    assert [found.row["deployment_id"] is not None for found in ended] == [True, True]


def test_pools_of_our_workers_type_are_chosen_by_default(watch: Watch) -> None:
    api(watch, "/work_pools/", name=watch.tag, type="kodosumi-ray")
    made = api(watch, "/flows/", name=f"deployed-{watch.tag}")
    deployed = api(
        watch, "/deployments/", name="here", flow_id=made["id"], work_pool_name=watch.tag
    )
    path = f"/deployments/{deployed['id']}/create_flow_run"
    before = api(watch, path, state={"type": "RUNNING"})["id"]
    later = api(watch, path, state={"type": "SCHEDULED"})["id"]
    with observing(watch, observe_tags=None):
        # One was under way before anybody looked, one begins now.
        wait_for(lambda: watch.known(before) and watch.recorded(before).row["inputs"], 20)
        assert not watch.known(later)
        enter(watch, later, "PENDING")
        wait_for(lambda: watch.known(later), 20, "the row of a run about to start")
        assert watch.recorded(later).told == [("status", "starting")]
        for fid in (before, later):
            enter(watch, fid, "CRASHED", message="gone")
            assert watch.until_ended(fid).row["error"] == "Crashed: gone"


def test_a_run_that_a_process_of_ours_executes_is_not_recorded_twice(watch: Watch) -> None:
    @task
    def half(number: int) -> float:
        return number / 2

    @kodosumi_flow(log_prints=True)
    def ours(number: int) -> float:
        print("printed once")
        return half(number)

    with observing(watch), use_settings(watch.settings), tags(watch.tag):
        with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
            fid = watch.run(ours, 8).fid
        wait_for(
            lambda: len([e for e in watch.recorded(fid).events if "task half" in e.payload]) == 2,
            20,
            "the task run's events",
        )
    found = watch.recorded(fid)
    assert found.of("stdout") == ["printed once"]
    assert found.of("status") == ["starting", "running", "finished"]
    assert found.of("final") == ['{"float": 4.0}']
    assert found.row["status"] == "finished"
    assert [e.payload for e in found.events if e.source and "log" in e.source] == []


def test_task_runs_can_be_left_out(watch: Watch) -> None:
    with observing(watch, observe_tasks=False):
        fid = watch.until_ended(watch.plain()).fid
        # Prefect's server may take its lines later than the end waits for them.
        wait_for(lambda: "line 2" in watch.recorded(fid).of("debug"), 30, "the lines")
    found = watch.recorded(fid)
    assert not [e for e in found.events if e.payload.startswith("task ")]


def test_a_run_that_is_retried_goes_on_in_the_same_stream(watch: Watch) -> None:
    with observing(watch):
        fid = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
        wait_for(lambda: watch.known(fid) and watch.recorded(fid).row["inputs"], 20)
        enter(watch, fid, "FAILED", message="first")
        assert watch.until_ended(fid).row["error"] == "Failed: first"
        enter(watch, fid, "SCHEDULED", name="AwaitingRetry")
        enter(watch, fid, "RUNNING")
        wait_for(lambda: watch.recorded(fid).row["status"] == "running", 20, "the second attempt")
        enter(watch, fid, "PAUSED")
        wait_for(lambda: watch.recorded(fid).row["status"] == "awaiting", 20, "the pause")
        enter(watch, fid, "RUNNING")
        enter(watch, fid, "COMPLETED")
        found = watch.until_ended(fid)
    assert found.of("status") == [
        *("starting", "running", "error"),
        *("running", "running", "awaiting", "running", "finished"),
    ]
    assert found.of("error") == ["Failed: first"]
    assert found.row["error"] is None
    assert found.row["status"] == "finished"


def test_lines_of_the_engine_are_told_from_authors_lines() -> None:
    assert is_engines("prefect.flow_runs", "Finished in state Completed()")
    assert is_engines("prefect.flow_runs", "Beginning flow run 'a' for flow 'b'")
    assert is_engines("prefect.task_runs", "Task run failed with exception: ValueError()")
    assert is_engines("prefect.flow_runs.worker", "Completed submission of flow run 'x'")
    assert not is_engines("prefect.flow_runs", "finished with 3 items")
    assert not is_engines("my.library", "Finished in state of bliss")
