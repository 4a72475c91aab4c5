"""The main job, as teams use it: `up`, deployments, the panel, the command line."""

import json
import os
import signal
import subprocess
import time
from uuid import uuid4

import httpx
import pytest

from kodosumi_prefect.database import migrate
from kodosumi_prefect.events import Event, Kind, Status
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch
from tests.e2e.running import BIN, REPOSITORY, Up, clean_environment, gone, pid_of, running_up
from tests.prefect_http import ask_prefect
from tests.waiting import wait_for

pytestmark = pytest.mark.stack


def test_a_deployed_run_on_ray_streams_gap_free_to_its_end(up: Up):
    fid = up.run("prime-gaps/prime-gaps", limit=1_000_000)
    wait_for(lambda: up.status(fid)["status"], 60, "the run to begin")
    items = up.stream(fid)
    assert [number for _, number, _ in items[:-1]] == list(range(1, len(items)))
    assert [name for name, _, _ in items[:4]] == ["status", "inputs", "meta", "status"]
    assert [name for name, _, _ in items[-3:]] == ["final", "status", "eof"]
    assert items[-2][2].endswith(":finished")
    assert '"primes": 78498' in items[-3][2]
    assert up.prefect_state(fid)["type"] == "COMPLETED"


def test_tail_resumes_and_runs_lists(up: Up):
    fid = up.run("ticking/test", ticks=5)
    up.until(fid, "finished")
    whole = up.command("kodosumi-prefect", "tail", fid)
    assert "tick 0" in whole
    assert "finished" in whole
    seq = next(e["seq"] for e in up.events(fid) if e["payload"].startswith("tick 2"))
    rest = up.command("kodosumi-prefect", "tail", fid, "--after", str(seq))
    assert "tick 2" not in rest
    assert "tick 3" in rest
    assert fid in up.command("kodosumi-prefect", "runs", "--query", "ticking")


def test_a_killed_flow_process_loses_nothing_and_ends_as_an_error(up: Up, until_running):
    fid = until_running("ticking/test", ticks=5000)
    wait_for(lambda: len(up.events(fid, kinds="debug")) > 50, 30, "fifty ticks")
    pid = pid_of(up, fid)
    seen = len(up.events(fid, kinds="debug"))
    os.kill(pid, signal.SIGKILL)
    up.until(fid, "error", 40)
    events = up.events(fid)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    ticks = [e["payload"].split()[1] for e in events if e["kind"] == "debug"]
    assert ticks == [str(number) for number in range(len(ticks))]
    assert len(ticks) >= seen
    assert [e["kind"] for e in events[-2:]] == ["error", "status"]
    assert "SIGKILL" in events[-2]["payload"]
    assert up.prefect_state(fid)["type"] == "CRASHED"


@pytest.mark.parametrize("deployment", ["ticking/test", "waiting-for-ray/test"])
def test_cancelling_ends_the_process_and_the_stream_says_so(up: Up, until_running, deployment):
    fid = until_running(deployment, **({"ticks": 5000} if "ticking" in deployment else {}))
    pid = pid_of(up, fid)
    assert "Cancelling" in up.command("kodosumi-prefect", "cancel", fid)
    status = up.until(fid, "error", 60)
    assert "Cancelled" in status["final"]
    assert up.prefect_state(fid)["type"] == "CANCELLED"
    wait_for(lambda: gone(pid), 20, "the process to end")
    attempts = {e["attempt"] for e in up.events(fid)}
    assert attempts == {1}


def test_a_failed_run_retried_in_prefect_goes_on_in_the_same_stream(up: Up, tmp_path):
    fid = up.run("failing-once/test", marker=str(tmp_path / "marker"))
    up.until(fid, "error")
    assert up.stream(fid)[-1][0] == "eof"
    answer = ask_prefect(
        "POST",
        f"{up.environment['PREFECT_API_URL']}/flow_runs/{fid}/set_state",
        auth=up.prefect_auth,
        json={"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True},
    )
    assert answer.json()["status"] == "ACCEPT"
    status = up.until(fid, "finished")
    assert status["final"] == '{"str": "this time"}'
    events = up.events(fid)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e["kind"] for e in events].count("inputs") == 1
    assert [e["kind"] for e in events].count("final") == 1
    tries = [e["attempt"] for e in events if e["payload"] == "trying"]
    assert tries == [1, 2]


def test_the_nightly_report_counts_the_runs_of_the_day(up: Up):
    fid = up.run("nightly-report/nightly-report", hours=24)
    status = up.until(fid, "finished")
    assert '"ticking"' in status["final"] or "ticking" in str(up.events(fid, kinds="result"))


def test_a_second_up_on_the_same_data_dir_is_refused(up: Up):
    done = subprocess.run(
        [str(BIN / "kodosumi-prefect"), "up", "--data-dir", str(up.data_dir), "--port", "0"],
        env=clean_environment(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    message = done.stderr.strip()
    assert "\n" not in message
    assert str(up.data_dir) in message
    assert str(up.process.pid) in message


def test_config_says_where_a_value_came_from(up: Up):
    shown = up.command("kodosumi-prefect", "config")
    assert "data_dir" in shown
    assert "environment" in shown
    assert "up runs postgres at postgresql://kodosumi:********@127.0.0.1" in shown


def test_the_database_commands_speak_of_this_database(up: Up):
    assert "already" in up.command("kodosumi-prefect", "db", "upgrade")
    assert up.command("kodosumi-prefect", "db", "current").strip() == migrate.newest()
    assert "new enough" in up.command("kodosumi-prefect", "db", "check")
    assert "kodosumi_writer" in up.command("kodosumi-prefect", "db", "grants")
    assert "nothing waits" in up.command("kodosumi-prefect", "spool", "replay")


def test_a_taken_port_is_one_line_that_names_it(up: Up, tmp_path):
    port = httpx.URL(up.panel).port
    done = subprocess.run(
        [str(BIN / "kodosumi-prefect"), "panel", "--port", str(port)],
        env=up.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "\n" not in done.stderr.strip()


def test_a_wrong_password_is_one_line_that_names_it(up: Up):
    recorded = (up.data_dir / "run" / "postgres.json").read_text()
    port = recorded.partition("127.0.0.1:")[2].partition("/")[0]
    url = f"postgresql://kodosumi:wrong@127.0.0.1:{port}/kodosumi"
    done = subprocess.run(
        [str(BIN / "kodosumi-prefect"), "runs"],
        env=up.environment | {"PREFECT_INTEGRATIONS_KODOSUMI_DATABASE_URL": url},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_up_survives_being_stopped_and_keeps_its_executions(tmp_path):
    fid = str(uuid4())
    with running_up(tmp_path, "--no-worker", keep=True) as first:
        port = (tmp_path / "run" / "postgres.json").read_text()
        assert httpx.get(f"{first.panel}/livez").status_code == 200
        spooler = Spooler(json.loads(port)["url"], "kodosumi")
        ending = Event(time.time(), Kind.STATUS, Status.FINISHED)
        spooler.append([Batch(fid, str(uuid4()), 1, {}, [ending], None)])
        spooler.close()
    assert not (tmp_path / "run" / "panel.json").exists()
    with running_up(tmp_path, "--no-worker") as second:
        assert httpx.get(f"{second.panel}/readyz").status_code == 200
        assert second.status(fid)["status"] == "finished"
        assert (tmp_path / "run" / "postgres.json").read_text().partition("@")[2].partition("/")[
            0
        ] == port.partition("@")[2].partition("/")[0]
