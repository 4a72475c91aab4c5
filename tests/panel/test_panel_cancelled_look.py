"""A cancelled run is no failed one to people, while programs go on reading Kodosumi's word."""

import re

import pytest

from tests.panel.panel_runs import Run, Stand

CHIP = '<span class="chip cancelled">'


@pytest.fixture
def cancelled(panel: Stand) -> Run:
    return panel.run(flow_name="stopped").begin().cancel()


def test_pages_show_it_as_cancelled(panel: Stand, cancelled: Run) -> None:
    row = panel.get("/executions?flow=stopped").text
    assert CHIP in row and 'class="problem"' not in row
    assert CHIP in panel.get(f"/executions/{cancelled.fid}").text
    assert CHIP in panel.get(f"/outputs/html/{cancelled.fid}").text


def test_programs_read_error(panel: Stand, cancelled: Run) -> None:
    assert panel.json(f"/outputs/status/{cancelled.fid}")["status"] == "error"
    [item] = panel.json("/timeline/list", params={"q": cancelled.fid})["items"]
    assert item["status"] == "error"


def test_a_failed_run_is_an_error_still(panel: Stand) -> None:
    failed = panel.run(flow_name="broken").begin().fail()
    text = panel.get(f"/executions?q={failed.fid}").text
    assert re.search(r'class="chip error">', text) and CHIP not in text


def test_the_dashboard_counts_it_as_no_error(fresh_panel: Stand) -> None:
    base = "/api/dashboard"
    fresh_panel.run().begin().finish()
    fresh_panel.run().begin().cancel()
    failed = fresh_panel.run().begin().fail()
    fresh_panel.run().begin()
    found = fresh_panel.json(f"{base}/errors")
    assert [item["fid"] for item in found["errors"]] == [failed.fid] and found["total"] == 1
    figures = fresh_panel.json(f"{base}/agent-stats")
    assert figures["error_rate"] == 0.25 and figures["by_status"]["error"] == 2
