"""The review that comes along: suspended, everything restarted three times, answered by link."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.e2e.running import Up, gone, running_up
from tests.e2e.test_service_faults import query
from tests.waiting import wait_for

PANEL = "https://panel.example.org"  # as people outside see it: links are made for it
SERVICE = ("--service", "flows.review:app")
POINTS = {"title": "Maintenance", "audience": "all", "points": "on Sunday\nfrom 6 to 8"}
APPROVED = {"decision": "approve", "comments": "fine"}


def suspended(up: Up, fid: str) -> bool:
    state = up.prefect_state(fid)
    return state["name"] == "AwaitingInput" and bool(state["state_details"]["pause_reschedule"])


def is_asking(up: Up, fid: str) -> dict[str, Any]:
    (question,) = up.client.get("/locks", params={"mine": True}).raise_for_status().json()["items"]
    assert question["fid"] == fid
    return dict(question)


@pytest.mark.timeout(600)
def test_a_review_is_answered_by_link_three_restarts_later_and_finishes(tmp_path: Path):
    variables = {"PREFECT_INTEGRATIONS_KODOSUMI_PANEL_URL": PANEL}
    try:
        with running_up(tmp_path, *SERVICE, keep=True, variables=variables) as up:
            answer = up.client.post("/-/panel/0/flows.review:app/-/", json=POINTS)
            fid = str(answer.raise_for_status().json()["result"])
            (lid,) = up.until(fid, "awaiting", 90)["locks"]
            lock = f"/lock/{fid}/{lid}"
            made = up.client.post(f"{lock}/links", json={"recipient": "Legal"})
            link = made.raise_for_status().json()["url"]
            assert link.startswith(f"{PANEL}/answer/")
            (runner,) = query(up, "SELECT pid FROM kodosumi.runner WHERE fid = %s", fid)
            wait_for(lambda: suspended(up, fid), 120, "the run to be suspended")
            wait_for(lambda: gone(runner["pid"]), 30, "its process to end")
        for _ in range(2):
            with running_up(tmp_path, *SERVICE, keep=True, variables=variables) as up:
                is_asking(up, fid)
                assert up.status(fid)["status"] == "awaiting" and suspended(up, fid)
        with running_up(tmp_path, *SERVICE, keep=True, variables=variables) as up:
            with httpx.Client(base_url=up.panel, trust_env=False, timeout=30) as stranger:
                form = stranger.get(urlsplit(link).path).raise_for_status().text
                assert "On Sunday." in form and fid not in form
                stranger.post(urlsplit(link).path, data=APPROVED).raise_for_status()
            up.until(fid, "finished", 90)
            events = up.events(fid)
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            kinds = [event["kind"] for event in events]
            assert (kinds.count("lock"), kinds.count("lease"), kinds.count("final")) == (1, 1, 1)
            assert "Approved as draft 1" in events[kinds.index("final")]["payload"]
            assert up.prefect_state(fid)["type"] == "COMPLETED"
            steps = up.client.get(f"{lock}/steps").raise_for_status().json()["steps"]
            assert [step["means"] for step in steps if step["step"] == "answered"] == ["link"], (
                steps
            )
    finally:
        EmbeddedPostgres(tmp_path).destroy()
