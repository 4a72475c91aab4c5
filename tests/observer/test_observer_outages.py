"""Prefect behind a proxy, Prefect away, Postgres away: nothing is missed, and nobody crashes."""

import logging
import re
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from tests.observer.front import fronted
from tests.observer.watching import Watch, enter, made_run, observing
from tests.panel.panel_runs import Gate
from tests.prefect_http import AUTH_STRING
from tests.spooler.recording import line_to
from tests.waiting import wait_for


def running(watch: Watch) -> str:
    """A run of nobody that is followed."""
    fid = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
    wait_for(lambda: watch.known(fid) and watch.recorded(fid).row["inputs"], 30, "the opening")
    return fid


def test_prefect_under_a_path_with_a_password_that_limits_requests(watch: Watch) -> None:
    with fronted(watch.api_url, AUTH_STRING) as front:
        with observing(watch, front.url):
            fid = running(watch)
            front.refusals = 6
            enter(watch, fid, "COMPLETED")
            following = running(watch)
            wait_for(lambda: front.refusals == 0, 30, "all refusals")
            enter(watch, following, "FAILED", message="no")
            assert watch.until_ended(fid, 60).row["status"] == "finished"
            assert watch.until_ended(following, 60).row["error"] == "Failed: no"
            assert watch.observers().popitem()[1]["info"]["streaming"]
        assert front.sockets == 1
        assert front.unauthorized == 0
        # What was asked to wait waited: no storm of requests behind a 429.
        assert len(front.refused) == 6
        assert front.refused[-1] - front.refused[0] >= front.retry_after


def test_what_happens_while_prefect_cannot_be_reached_is_recorded_after(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    where = urlsplit(watch.api_url)
    gate = Gate(str(where.hostname), int(where.port or 0))
    with observing(watch, f"http://127.0.0.1:{gate.port}/api"):
        fid = running(watch)
        with caplog.at_level(logging.INFO, "kodosumi_prefect"):
            gate.shut()
            missed = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
            enter(watch, missed, "FAILED", message="unseen")
            enter(watch, fid, "PAUSED")
            enter(watch, fid, "RUNNING")
            said = "receiving events from Prefect"
            wait_for(lambda: said in caplog.text, 20, "the outage to be logged")
            wait_for(
                lambda: not any(o["info"]["streaming"] for o in watch.observers().values()),
                20,
                "a report that says so",
            )
            gate.open()
            assert watch.until_ended(missed, 60).row["error"] == "Failed: unseen"
            states = ["starting", "running", "awaiting", "running"]
            wait_for(lambda: watch.recorded(fid).of("status") == states, 30, "all states")
            enter(watch, fid, "COMPLETED")
            assert watch.until_ended(fid).of("status") == [*states, "finished"]
        told = [r.getMessage() for r in caplog.records if said in r.getMessage()]
        assert len(told) == 2, told
        assert told[0].startswith("failed for now: receiving events from Prefect: ")
        assert re.match(r"recovered after \d+\.\d s: receiving events from Prefect$", told[1])
    gate.shut()


def test_postgres_that_goes_and_comes_back_is_led_by_somebody_again(watch: Watch) -> None:
    with line_to(watch.database) as line, observing(watch, database_url=SecretStr(line.url)):
        fid = running(watch)
        name = next(iter(watch.observers()))
        before = watch.observers()[name]["seen_at"]
        line.cut()
        missed = made_run(watch, tags=[watch.tag], state={"type": "RUNNING"})
        enter(watch, fid, "COMPLETED")
        wait_for(
            lambda: not watch.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"),
            20,
            "the lock to be free",
        )
        line.restore()
        assert watch.until_ended(fid, 60).row["status"] == "finished"
        wait_for(lambda: watch.known(missed), 60, "the run that began meanwhile")
        wait_for(
            lambda: (o := watch.observers()[name])["seen_at"] > before and o["info"]["leader"],
            20,
            "a report",
        )
        enter(watch, missed, "COMPLETED")
        watch.until_ended(missed)
    assert not watch.observers()
