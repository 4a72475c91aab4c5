"""The pages that Prefect, Ray and services have their part in, in both themes and on a phone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext
from tests.browser.faults import Scales, faults
from tests.browser.steps import LIVE, status
from tests.e2e.running import Up
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)

POINTS = {"title": "Seen in every theme", "audience": "all", "points": "on Sunday"}


@pytest.fixture
def review(up: Up) -> Iterator[tuple[str, str]]:
    """The page of a service that something is scheduled of, and a run of it that waits."""
    wait_for(lambda: len(up.client.get("/flow").json()["items"]) >= 2, 60, "two services")
    items = up.client.get("/flow", params={"q": "review"}).raise_for_status().json()["items"]
    [found] = [item for item in items if item["summary"] == "Draft and review"]
    fid = up.client.post(found["url"], data=POINTS, timeout=60).raise_for_status().json()["result"]
    when = {"kodosumi.cron": "30 6 * * 1-5", "kodosumi.timezone": "Europe/Berlin"}
    page = f"services/{found['uid']}"
    up.client.post(f"/{page}/schedule", data=POINTS | when, timeout=60)
    json = {"accept": "application/json"}
    [made] = up.client.get("/schedules", headers=json).raise_for_status().json()["items"]
    yield page, fid
    up.client.post(f"/outputs/{fid}/cancel").raise_for_status()
    up.client.delete(f"/schedules/{made['id']}").raise_for_status()


def open_schedule(page: Page) -> None:
    page.locator("#schedule > summary").click()
    page.get_by_label("By cron").check()
    page.get_by_role("textbox", name="Cron").fill("15 3 * * *")
    expect(page.locator("#moments")).to_contain_text("At 03:15")


def test_pages_that_need_the_whole_stack_are_legible_fit_a_phone_and_are_light(
    up: Up, new_context: NewContext, review: tuple[str, str]
) -> None:
    page = new_context(up, reduced_motion="reduce").new_page()
    service, fid = review
    page.goto(f"/executions/{fid}")
    expect(status(page)).to_contain_text("awaiting", timeout=LIVE)
    scales = Scales(page)
    looked_at = {
        "services": None,
        service: open_schedule,
        "schedules": lambda page: expect(page.locator("main")).to_contain_text("Europe/Berlin"),
        "system": lambda page: expect(page.locator("#block-ray")).to_contain_text("CPU"),
        f"executions/{fid}": lambda page: expect(page.locator(".facts")).to_contain_text("Prefect"),
        "waiting": lambda page: expect(page.get_by_label("Decision").first).to_be_visible(),
    }
    found = {path: faults(page, f"/{path}", scales, ready) for path, ready in looked_at.items()}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
