"""What runs underneath, as a page; and register sources."""

import html
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from kodosumi_prefect.database.migrate import newest
from kodosumi_prefect.database.rows.system import Service, Utilisation
from kodosumi_prefect.panel.system.rates import Rates
from kodosumi_prefect.panel.system.utilisation import Sampler, figures
from kodosumi_prefect.settings import Settings, write_address
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stream.reader import Reader
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document
from tests.panel.panel_runs import Stand
from tests.panel.test_panel_account_page import PART
from tests.panel.test_panel_accounts import HTML
from tests.panel.test_panel_pages import ATTACK
from tests.prefect_http import AUTH_STRING
from tests.services import record_prefect
from tests.spooler.recording import execute


def block(text: str, name: str) -> str:
    """One part of the page."""
    found = text.partition(f'id="block-{name}"')[2].partition("</section>")[0]
    assert found, text
    return found


def tell(database: str, kind: str, name: str, **info: Any) -> None:
    spooler = Spooler(database, "kodosumi")
    row = {"kind": kind, "name": name, "host": "node", "pid": 7, "version": "1.2"}
    spooler.tell("report_service", row | {"info": json.dumps(info)})
    spooler.close()


def worker(database: str, name: str = "some-worker", **info: Any) -> None:
    known = {"pool": "some-pool", "runs": 4, "warm": 1, "draining": False, "ray": True}
    tell(database, "worker", name, **known | info)


def test_every_part_is_there_and_empty_ones_say_so(fresh_panel: Stand) -> None:
    text = fresh_panel.get("/system").text
    assert f"revision {newest()}" in block(text, "postgres") and "MB" in block(text, "postgres")
    assert "kodosumi-prefect" in block(text, "versions")
    assert "No Prefect API is known" in block(text, "prefect")
    assert "No Ray cluster is known" in block(text, "ray")
    assert "None has reported" in block(text, "spooler")
    assert "no observer was seen" in block(text, "observer").lower()
    assert "No worker has reported" in block(text, "workers")


def test_executions_are_counted_by_status(fresh_panel: Stand) -> None:
    fresh_panel.run().begin().finish()
    fresh_panel.run().begin().finish()
    fresh_panel.run().begin()
    found = block(fresh_panel.get("/system/blocks").text, "executions")
    assert "<dt>Finished</dt><dd>2</dd>" in found and "<dt>Running</dt><dd>1</dd>" in found


def test_workers_and_their_cluster_are_as_they_report(fresh_panel: Stand, database: str) -> None:
    worker(database, cluster=[{"host": "node-1", "resources": {"CPU": 8.0, "memory": 4e9}}])
    worker(database, "without-ray", ray=False)
    worker(database, "silent")
    silence = "UPDATE kodosumi.service SET seen_at = now() - interval '2 min' WHERE name = 'silent'"
    execute(database, silence)
    text = fresh_panel.get("/system/blocks").text
    workers = block(text, "workers")
    assert "some-pool" in workers and "<dt>Runs, now</dt><dd>4</dd>" in workers
    assert "no Ray" in workers and "silent for 2 min" in workers
    ray = block(text, "ray")
    assert "node-1" in ray and "CPU 8" in ray and "memory 4.0 GB" in ray


def test_what_services_report_stays_text(fresh_panel: Stand, database: str) -> None:
    worker(database, ATTACK, pool=ATTACK, cluster=[{"host": ATTACK, "resources": {ATTACK: 1}}])
    tell(database, "observer", ATTACK, leader=True, lag=0.5)
    text = fresh_panel.get("/system/blocks").text
    assert "<script>alert" not in text and "<img" not in text
    assert "0.50 s" in block(text, "observer")


def test_a_prefect_that_is_away_is_one_line_and_the_rest_stands(
    fresh_panel: Stand, settings: Settings
) -> None:
    write_address(settings, "prefect", {"url": "http://127.0.0.1:1/api"})
    began = time.monotonic()
    text = fresh_panel.get("/system/blocks").text
    assert time.monotonic() - began < 5
    found = block(text, "prefect")
    assert "down" in found and "Version" not in found
    assert f"revision {newest()}" in block(text, "postgres")


def test_a_prefect_that_answers_tells_its_version(
    fresh_panel: Stand, serve_app: Callable[..., str]
) -> None:
    url = serve_app(Faulty(**{"api/health": True, "api/admin/version": "3.8.0"}))
    write_address(fresh_panel.settings, "prefect", {"url": f"{url}/api"})
    found = block(fresh_panel.get("/system/blocks").text, "prefect")
    assert "3.8.0" in found and f'href="{url}"' in found


def test_a_rate_is_what_came_between_two_reports() -> None:
    def report(events: int, appends: int, seconds: float, silent: float) -> Service:
        info = {"events": events, "appends": appends, "seconds": seconds}
        return Service("spooler", "one", "host", 1, "1.0", info, time.time() - 60, silent)

    rates = Rates()
    assert rates.of(report(100, 10, 1.0, 40.0)) is None
    assert rates.of(report(100, 10, 1.0, 40.0)) is None  # the same report, seen again
    found = rates.of(report(500, 30, 1.4, 20.0))
    assert found is not None
    assert found.events == pytest.approx(20.0, rel=0.01)
    assert found.seconds == pytest.approx(0.02)
    assert rates.of(report(5, 1, 0.1, 0.0)) is None  # it started anew


@pytest.fixture
def serve_app() -> Iterator[Callable[[Faulty], str]]:
    """Start a service; its address."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(served_app(service.app, 0))


def test_sources_are_added_read_and_removed(
    fresh_panel: Stand, serve_app: Callable[..., str]
) -> None:
    service = Faulty(**{"openapi.json": document()})
    url = serve_app(service) + "/openapi.json"
    panel = fresh_panel.client
    added = panel.post("/system/sources", data={"url": url}, headers=PART)
    assert "Added, with 1 endpoint." in added.text and url in added.text
    assert "<html" not in added.text
    service.answers["/openapi.json"] = document({})
    read = panel.post("/system/sources/refresh", data={"url": url}, headers=PART)
    assert "Read: 0 endpoints; 1 endpoint no longer there." in read.text
    service.answers.clear()
    failed = panel.post("/system/sources/refresh", headers=PART)
    assert failed.status_code == 422 and "failed</span>" in failed.text
    assert "404" in fresh_panel.get("/system/sources").text
    removed = panel.post("/system/sources/remove", data={"url": url}, headers=PART)
    assert "The source is removed." in removed.text and url not in removed.text
    again = panel.post("/system/sources/remove", data={"url": url}, headers=PART)
    assert again.status_code == 422 and "removed already" in again.text


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host/x", "http://u:p@host/", ATTACK])
def test_what_is_no_source_is_refused_and_kept_as_typed(fresh_panel: Stand, url: str) -> None:
    answer = fresh_panel.client.post("/system/sources", data={"url": url}, headers=PART)
    assert answer.status_code == 422 and 'class="wrong"' in answer.text
    assert "<script>alert" not in answer.text
    if url != ATTACK:
        assert f'value="{url}"' in answer.text
    assert "openapi" not in fresh_panel.get("/system/sources").text


def test_a_source_that_is_away_is_kept_and_says_why(fresh_panel: Stand) -> None:
    url = "http://127.0.0.1:1/openapi.json"
    answer = fresh_panel.client.post("/system/sources", data={"url": url}, headers=PART)
    assert answer.status_code == 200 and "Added, but it cannot be read" in answer.text
    assert "failed</span>" in fresh_panel.get("/system/sources").text


def test_a_source_of_the_settings_cannot_be_removed(fresh_panel: Stand) -> None:
    text = fresh_panel.get("/system/sources").text
    assert "from settings" in text and "Remove" not in text
    answer = fresh_panel.client.post("/system/sources/remove", data={"url": "prefect"})
    assert answer.status_code == 422 and "register_work_pools" in answer.text


def test_sources_are_for_operators(panel: Stand) -> None:
    person = panel.person("Looks at the system")
    text = person.client.get("/system").text
    assert 'id="block-postgres"' in text and "Sources of services" not in text
    assert person.client.get("/system/sources", headers=HTML).status_code == 403
    for path in ("", "/refresh", "/remove"):
        answer = person.client.post(f"/system/sources{path}", data={"url": "http://x/"})
        assert answer.status_code == 403


def test_operators_are_told_how_to_sign_in_to_prefect_and_nobody_else(
    fresh_panel: Stand, settings: Settings
) -> None:
    asked = "/system/prefect-password"
    assert "Signing in to Prefect" not in fresh_panel.get("/system").text
    assert fresh_panel.client.post(asked).status_code == 404
    record_prefect(settings, "http://127.0.0.1:1/api")
    person = fresh_panel.person("Looks at the system")
    text = fresh_panel.get("/system").text
    assert "Signing in to Prefect" in text and str(settings.data_dir) in text
    assert AUTH_STRING not in html.unescape(text)
    for headers in ({}, {"hx-request": "true"}):
        answer = fresh_panel.client.post(asked, headers=headers)
        assert AUTH_STRING in html.unescape(answer.text)
        assert answer.headers["cache-control"] == "no-store"
        refused = person.client.post(asked, headers=headers)
        assert refused.status_code == 403 and AUTH_STRING not in html.unescape(refused.text)
    for path in ("/system", "/system/blocks", "/health"):
        text = html.unescape(person.client.get(path).text)
        assert "Signing in" not in text and AUTH_STRING not in text


def test_a_prefect_that_does_not_know_us_is_down_with_the_remedy(
    fresh_panel: Stand, settings: Settings, prefect_server: str
) -> None:
    write_address(settings, "prefect", {"url": prefect_server})
    found = block(fresh_panel.get("/system/blocks").text, "prefect")
    assert "down" in found and "PREFECT_API_AUTH_STRING" in found
    assert fresh_panel.get("/health").status_code == 503
    record_prefect(settings, prefect_server)
    assert "down" not in block(fresh_panel.get("/system/blocks").text, "prefect")
    assert fresh_panel.json("/health")["prefect"]["status"] == "ok"


async def sample(stand: Stand, at: float) -> None:
    async with Reader(stand.database, "kodosumi") as reader:
        await Sampler(reader).sample(at)


async def test_how_busy_workers_are_is_drawn_over_the_last_hour(
    fresh_panel: Stand, database: str
) -> None:
    empty = block(fresh_panel.get("/system/blocks").text, "utilisation")
    assert "no worker has reported" in empty and "<polyline" not in empty
    cluster = [{"host": "node-1", "resources": {"CPU": 8.0}}]
    now = time.time()
    for runs, ago in ((1, 600), (3, 570), (2, 60)):
        for name in ("one", "two"):  # of one cluster, which counts once
            worker(database, name, runs=runs, limit=5, cluster=cluster, used={"CPU": 2.5})
        await sample(fresh_panel, now - ago)
        await sample(fresh_panel, now - ago)  # as another panel does
    drawn = block(fresh_panel.get("/system/blocks").text, "utilisation")
    assert "Runs on workers over the last hour: 4 of 10 runs now, at most 6" in drawn
    assert "Processors reserved in Ray over the last hour: 2.5 of 8 CPUs now" in drawn
    assert drawn.count("<polyline") == 2 * 2  # nobody reported for eight minutes


async def test_utilisation_is_kept_for_two_hours(fresh_panel: Stand, database: str) -> None:
    worker(database, limit=5)
    now = time.time()
    for ago in (3 * 3600, 60, 0):
        await sample(fresh_panel, now - ago)
    async with Reader(database, "kodosumi") as reader:
        rows = await reader.rows_of(Utilisation, "utilisation", since=0.0)
    assert [now - row.at < 120 for row in rows] == [True, True]


def test_a_worker_of_before_tells_no_limit_and_no_use() -> None:
    known = {"pool": "p", "runs": 4, "cluster": [{"host": "n", "resources": {"CPU": 8.0}}]}
    row = Service("worker", "w", "h", 1, "1", known, 0.0, 1.0)
    assert figures([row]) == {"runs": 4}
    assert figures([replace(row, silent=120.0)]) == {}


def test_figures_say_what_they_count(fresh_panel: Stand, database: str) -> None:
    bounds = {"bounds": [0.1], "buckets": [1, 0], "connections": 1, "clients": 1}
    held = {"buffered_events": 1200, "buffered_bytes": 0, "spilled_bytes": 0}
    tell(database, "spooler", "s", events=5000, appends=10, seconds=1.0, errors=3, **bounds, **held)
    found = block(fresh_panel.get("/system/blocks").text, "spooler")
    assert "<dt>Batches not stored since it started</dt><dd>3</dd>" in found
    assert "<dt>Events stored, last minute</dt>" in found
    assert "<dt>Waiting to be stored, now</dt><dd>1,200 events, 0 B</dd>" in found


def test_operators_see_the_applications_of_ray_serve_and_why_they_do_not_run(
    fresh_panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_DASHBOARD_ADDRESS", raising=False)
    assert "block-serve" not in fresh_panel.get("/system").text
    told = {
        "well": {"status": "RUNNING", "message": "", "route_prefix": "/w", "deployments": {}},
        "broken": {
            "status": "DEPLOY_FAILED",
            "message": f"Traceback (most recent call last):\n  x\nValueError: {ATTACK}",
            "route_prefix": "/b",
            "deployments": {"Part": {"status": "UNHEALTHY"}},
        },
        "coming": {
            "status": "DEPLOYING",
            "message": "",
            "route_prefix": None,
            "deployments": {"Part": {"status": "UPDATING"}},
        },
    }
    dashboard = Faulty(**{"api/serve/applications/": {"applications": told}})
    with served_app(dashboard.app) as ray:
        monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", ray)
        for path in ("/system", "/system/blocks"):
            found = block(fresh_panel.get(path).text, "serve")
            assert ATTACK not in found
            found = html.unescape(found)
            assert "well" in found and ">running" in found
            assert "deploy failed" in found and f"ValueError: {ATTACK}" in found
            assert "Traceback" not in found
            assert "deploying" in found and "Part is updating" in found
        somebody = fresh_panel.person("no operator")
        assert "block-serve" not in somebody.client.get("/system/blocks").text
    away = block(fresh_panel.get("/system").text, "serve")
    assert ">down<" in away and "away" in away
