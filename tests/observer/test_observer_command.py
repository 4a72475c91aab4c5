"""`kodosumi-prefect observer`: one leads, the next takes over, both end when told."""

import os
import signal
import subprocess
import time
from typing import Any

import pytest

from kodosumi_prefect.settings import PREFIX
from tests.observer.watching import COMMAND, Watch, api, commanded, enter, made_run
from tests.spooler.recording import execute
from tests.waiting import wait_for


def leaders(watch: Watch) -> list[dict[str, Any]]:
    return [row for row in watch.observers().values() if row["info"].get("streaming")]


def artifacts(watch: Watch, *fids: str) -> list[dict[str, Any]]:
    found = api(watch, "/artifacts/filter", artifacts={"flow_run_id": {"any_": list(fids)}})
    assert isinstance(found, list)
    return found


@pytest.mark.timeout(180)
def test_another_observer_takes_over_from_one_that_is_killed(watch: Watch) -> None:
    tags = {f"{PREFIX}OBSERVE_TAGS": watch.tag, f"{PREFIX}PANEL_URL": "https://panel.example/"}
    with commanded(watch, **tags) as one, commanded(watch, **tags) as other:
        wait_for(lambda: len(watch.observers()) == 2 and leaders(watch), 30, "two observers")
        (leader,) = leaders(watch)
        first, second = (one, other) if leader["pid"] == one.pid else (other, one)
        assert leader["pid"] == first.pid
        fid = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
        wait_for(lambda: watch.known(fid) and watch.recorded(fid).row["inputs"], 30, "the row")
        wait_for(lambda: artifacts(watch, fid), 30, "the link")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        missed = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
        enter(watch, missed, "COMPLETED")
        enter(watch, fid, "FAILED", message="meanwhile")
        wait_for(lambda: any(r["pid"] == second.pid for r in leaders(watch)), 15, "the next one")
        assert watch.until_ended(fid).row["error"] == "Failed: meanwhile"
        assert watch.until_ended(missed).of("status") == ["starting", "running", "finished"]
        wait_for(lambda: artifacts(watch, missed), 30, "the other link")
        # The second one has looked at the first's execution too, and made no second link.
        (link,) = artifacts(watch, fid)
        assert link["data"].endswith(f"(https://panel.example/executions/{fid})")
        assert link["key"] == f"kodosumi-{fid[-12:]}"
        told = time.monotonic()
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0
        assert time.monotonic() - told < 10
    (left,) = watch.observers().values()
    assert left["pid"] == first.pid  # it could not say goodbye


def test_an_old_schema_is_refused_in_one_line(watch: Watch) -> None:
    execute(watch.database, "UPDATE kodosumi.schema_version SET version_num = '0002'")
    with pytest.raises(AssertionError) as refused, commanded(watch):
        pass
    said = str(refused.value).splitlines()[0]
    assert "is at revision 0002, this version needs" in said
    assert "kodosumi-prefect db upgrade" in said


def test_ctrl_c_ends_one_that_cannot_reach_prefect(watch: Watch) -> None:
    with commanded(watch, PREFECT_API_URL="http://127.0.0.1:9/api") as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert "receiving events from Prefect" in told
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in out
    assert "receiving events from Prefect" not in out
    assert watch.observers() == {}


def test_it_needs_to_know_where_prefect_is(watch: Watch) -> None:
    environment = watch.environment()
    del environment["PREFECT_API_URL"]
    done = subprocess.run(
        COMMAND,
        env=environment,
        cwd=watch.settings.data_dir,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "PREFECT_API_URL is not set" in done.stderr
    assert "\n" not in done.stderr.strip()
