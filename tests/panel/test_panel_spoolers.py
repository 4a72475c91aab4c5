"""What the panel tells of Spoolers, from what they report in the database."""

from typing import Any

import orjson
import pytest

from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.figures import Figures
from kodosumi_prefect.spooler.transport import Backlog
from tests.panel.panel_runs import Stand
from tests.panel.test_panel_metrics import scraped
from tests.spooler.recording import execute

NAME = "spooler-1@head"


@pytest.fixture
def reporting(fresh_panel: Stand, database: str) -> Stand:
    """A panel whose database holds the report of a Spooler."""
    figures = Figures()
    for seconds in (0.0005, 0.001, 0.004, 0.004, 60.0):
        figures.appended(10, seconds)
    figures.failed()
    figures.hear("a", Backlog(3, 300, 0))
    figures.hear("b", Backlog(1, 100, 5000))
    figures.hear("b", Backlog(2, 200, 4000))
    report(database, figures.values() | {"connections": 2, "protocol": 1})
    return fresh_panel


def report(database: str, info: dict[str, Any]) -> None:
    spooler = Spooler(database, "kodosumi")
    row = {"kind": "spooler", "name": NAME, "host": "node", "pid": 7, "version": "1.2"}
    spooler.tell("report_service", row | {"info": orjson.dumps(info).decode()})
    spooler.close()


def test_the_figures_of_a_spooler_are_metrics(reporting: Stand) -> None:
    found = scraped(reporting)
    appended = "kodosumi_spooler_append_seconds"
    assert found[f"{appended}_bucket 0.001 {NAME}"] == 2
    assert found[f"{appended}_bucket 0.0025 {NAME}"] == 2
    assert found[f"{appended}_bucket 0.005 {NAME}"] == 4
    assert found[f"{appended}_bucket 10.0 {NAME}"] == 4
    assert found[f"{appended}_bucket +Inf {NAME}"] == 5
    assert found[f"{appended}_count {NAME}"] == 5
    assert found[f"{appended}_sum {NAME}"] == pytest.approx(60.0095)
    assert found[f"kodosumi_spooler_events_total {NAME}"] == 50
    assert found[f"kodosumi_spooler_errors_total {NAME}"] == 1
    assert found[f"kodosumi_spooler_connections {NAME}"] == 2
    assert found[f"kodosumi_spooler_clients {NAME}"] == 2
    assert found[f"kodosumi_client_buffer_events {NAME}"] == 5
    assert found[f"kodosumi_client_buffer_bytes {NAME}"] == 500
    assert found[f"kodosumi_client_spill_bytes {NAME}"] == 4000
    assert found[f"kodosumi_spooler_silent_seconds {NAME}"] < 10


def test_health_tells_a_spooler_that_went_silent(reporting: Stand, database: str) -> None:
    told = reporting.json("/health")["spooler"]["actors"]
    assert (told["status"], told["silent"]) == ("ok", [])
    assert (told["actors"][0]["name"], told["actors"][0]["connections"]) == (NAME, 2)
    execute(database, "UPDATE kodosumi.service SET seen_at = now() - interval '31 seconds'")
    found = reporting.json("/health")
    assert found["status"] == "ok"
    told = found["spooler"]["actors"]
    assert (told["status"], told["silent"]) == ("silent", [NAME])
    assert f"kodosumi_spooler_connections {NAME}" not in scraped(reporting)
    assert scraped(reporting)[f"kodosumi_spooler_silent_seconds {NAME}"] > 30


def test_without_a_spooler_nothing_is_wrong(fresh_panel: Stand) -> None:
    found = fresh_panel.json("/health")
    assert found["spooler"]["actors"] == {"status": "none", "silent": [], "actors": []}
    assert not [name for name in scraped(fresh_panel) if "spooler" in name]
