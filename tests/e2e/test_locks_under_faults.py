"""A run waits for a human while what is around it, or it itself, comes to an end."""

import json
import os
import signal
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.running import Up, gone, signed_in
from tests.e2e.test_service_faults import command, query, services
from tests.waiting import wait_for

POINTS = {"title": "Maintenance", "audience": "all", "points": "on Sunday\nfrom 6 to 8"}
APPROVED = {"decision": "approve", "comments": "fine"}


class Review:
    """A launched review that has asked its question."""

    def __init__(self, up: Up) -> None:
        self.up = up
        url = "/-/panel/0/flows.review:app/-/"
        answer = up.client.post(url, json=POINTS).raise_for_status().json()
        self.fid = str(answer["result"])
        self.lid = str(up.until(self.fid, "awaiting", 90)["locks"][0])
        self.path = f"/lock/{self.fid}/{self.lid}"

    @property
    def state(self) -> str:
        """Of its lock, as stored."""
        return str(
            query(self.up, "SELECT state FROM kodosumi.lock WHERE lid = %s", self.lid)[0]["state"]
        )

    def asks(self) -> bool:
        """Whether the panel lists its question."""
        items = self.up.client.get("/locks", params={"pp": 500}).json()["items"]
        return self.lid in [item["lid"] for item in items]

    def finishes(self) -> None:
        """It ends well, with one question and one answer and no gap in its stream."""
        self.up.until(self.fid, "finished", 60)
        events = self.up.events(self.fid)
        assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
        kinds = [e["kind"] for e in events]
        assert (kinds.count("lock"), kinds.count("lease"), kinds.count("final")) == (1, 1, 1)

    def is_closed(self) -> None:
        """Nobody can answer any more, and nobody is asked."""
        wait_for(lambda: self.state != "open", 30, "the lock to be closed")
        assert not self.asks()
        refused = self.up.client.post(self.path, json=APPROVED)
        assert refused.status_code in (404, 409), refused.text
        leases = [e["payload"] for e in self.up.events(self.fid, kinds="lease")]
        assert [json.loads(said)["dict"]["state"] for said in leases] in ([], ["void"])


@pytest.fixture
def review(up: Up) -> Review:
    return Review(up)


def child(up: Up, name: str) -> dict[str, Any]:
    """What `up` wrote down about a process that it started."""
    text = (up.data_dir / "run" / "children.json").read_text()
    records = json.loads(text)["records"] if text else []
    return next((record for record in records if record["name"] == name), {})


def test_a_cancelled_run_waits_no_more(up: Up, review: Review):
    assert review.asks()
    assert up.client.post(f"/outputs/{review.fid}/cancel").status_code == 202
    up.until(review.fid, "error", 60)
    wait_for(lambda: up.prefect_state(review.fid)["type"] == "CANCELLED", 30, "CANCELLED")
    review.is_closed()


def test_a_killed_runner_waits_no_more_and_says_why(up: Up, review: Review):
    (runner,) = query(up, "SELECT pid FROM kodosumi.runner WHERE fid = %s", review.fid)
    os.kill(runner["pid"], signal.SIGKILL)
    up.until(review.fid, "error", 60)
    wait_for(lambda: up.prefect_state(review.fid)["type"] == "CRASHED", 30, "CRASHED")
    assert "SIGKILL" in up.events(review.fid, kinds="error")[-1]["payload"]
    review.is_closed()


def test_a_question_outlives_worker_and_spooler(up: Up, review: Review):
    worker, spooler = child(up, "worker"), services(up, "spooler")[0]
    os.kill(spooler["pid"], signal.SIGKILL)
    os.kill(worker["pid"], signal.SIGKILL)
    wait_for(lambda: gone(spooler["pid"]) and gone(worker["pid"]), 30, "both to be gone")
    wait_for(
        lambda: child(up, "worker").get("pid") not in (None, worker["pid"]), 60, "the next worker"
    )
    assert review.state == "open" and review.asks()
    answered = up.client.post(review.path, json=APPROVED).raise_for_status().json()
    assert "errors" not in answered, answered
    review.finishes()


def test_a_question_outlives_the_panel_it_was_shown_by(up: Up, review: Review):
    words = ("panel", "--port", "0", "--service", "flows.review:app")
    with command(up, *words) as (process, panel):
        shown = signed_in(panel)
        fields = [element.get("name") for element in shown.get(review.path).json()]
        assert "decision" in fields
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        shown.close()
    with command(up, *words) as (_, panel), closing(signed_in(panel)) as client:
        refused = client.post(review.path, json={"decision": "revise"}).json()
        assert refused["errors"], refused
        assert review.state == "open"
        assert "errors" not in client.post(review.path, json=APPROVED).json()
    review.finishes()
