"""Runs that people follow while they work, and end."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext
from tests.browser.steps import LIVE, arrived, fid_of, focused, open_form, status, tab_to
from tests.e2e.running import Up
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(autouse=True)
def _services_are_there(up: Up) -> None:
    wanted = {"Digest a document", "Draft and review", "ticking/test"}

    def there() -> bool:
        found = up.client.get("/flow", params={"pp": 50}).raise_for_status().json()["items"]
        return wanted <= {service["summary"] for service in found}

    wait_for(there, 60, f"the services {wanted}")


def test_a_digest_is_corrected_and_then_watched_in_all_tabs(up: Up, up_page: Page) -> None:
    page = up_page
    open_form(page, "Digest a document")
    text, sample = page.get_by_label("Text", exact=True), page.get_by_label("Sample")
    page.get_by_label("Parts").fill("3")
    digest = page.get_by_role("button", name="Digest")
    digest.click()
    expect(text).to_have_accessible_description(re.compile("is empty; paste a text"))
    expect(text).to_be_focused()
    text.fill("<b>Four score</b> and seven years ago.")
    sample.select_option("gettysburg")
    digest.click()
    expect(sample).to_have_accessible_description(re.compile("leave one of them out"))
    expect(sample).to_be_focused()
    expect(text).to_have_value("<b>Four score</b> and seven years ago.")
    expect(page.get_by_label("Parts")).to_have_value("3")
    text.fill("")
    digest.click()

    fid = fid_of(page)
    page.evaluate("window.loadedOnce = true")
    page.get_by_role("tab", name="Log").click()
    expect(page.locator("#log-list")).to_contain_text("part 3: ", timeout=LIVE)
    expect(status(page)).to_contain_text("finished", timeout=LIVE)
    page.get_by_role("tab", name="Tasks").click()
    expect(page.locator("#panel-tasks")).to_contain_text("part-3")
    page.get_by_role("tab", name="Output").click()
    expect(page.locator("#result").get_by_role("heading", name="Key terms")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Complete")
    page.get_by_role("tab", name="Inputs").click()
    expect(page.locator("#panel-inputs")).to_contain_text("gettysburg")
    assert page.evaluate("window.loadedOnce") is True
    # Nothing came twice: what the tabs show is what is stored.
    lines = page.locator("#log-list li.stdout").count()
    assert lines == len(up.events(fid, kinds="stdout"))


def test_a_prefect_deployment_is_launched_followed_and_cancelled_while_it_runs(
    up: Up, up_page: Page
) -> None:
    page = up_page
    page.goto("/services")
    search = page.get_by_role("searchbox", name="Search services")
    search.fill("ticking")
    search.press("Enter")
    row = page.get_by_role("row").filter(has_text="ticking/test")
    expect(row).to_contain_text("Prefect deployment")
    row.get_by_role("link", name="ticking/test", exact=True).click()
    page.get_by_label(re.compile("ticks", re.I)).fill("100000")
    page.locator("#launch").get_by_role("button").click()
    fid = fid_of(page)
    page.get_by_role("tab", name="Log").click()
    expect(status(page)).to_contain_text("running", timeout=LIVE)
    log = page.locator("#log-list")
    expect(log).to_contain_text(re.compile(r"tick \d+ "), timeout=LIVE)
    last = log.locator("li").last
    seen = int(str(last.inner_text()).split("tick ")[1].split()[0])
    expect(log).to_contain_text(f"tick {seen + 100} ")  # more comes by itself
    follow = page.get_by_role("button", name="Follow the end")
    expect(follow).to_have_attribute("aria-pressed", "true")
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "false")

    page.get_by_role("link", name="Cancel", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Cancel this execution?")
    tab_to(page, "Cancel the execution")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_have_attribute("data-over", "", timeout=LIVE)
    expect(status(page)).to_have_text("cancelled")
    assert focused(page)
    assert up.prefect_state(fid)["type"] == "CANCELLED"

    # The same flow run once more, as its next attempt.
    page.get_by_role("link", name="Retry", exact=True).click()
    page.get_by_role("button", name="Retry the execution").press("Enter")
    expect(status(page)).to_contain_text("running", timeout=LIVE)
    expect(page.locator("#summary")).to_have_attribute("data-attempt", "2", timeout=LIVE)
    expect(log.locator(".divider").last).to_have_text("Attempt 2", timeout=LIVE)
    expect(log.locator("li").last).to_contain_text(re.compile(r"tick \d+ "), timeout=LIVE)
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.get_by_role("columnheader", name="Attempt 1")).to_be_visible()
    page.get_by_role("link", name="Back to the execution").click()
    page.get_by_role("link", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the execution").click()
    expect(page.locator("#summary")).to_have_attribute("data-over", "", timeout=LIVE)


@pytest.mark.usefixtures("nothing_left_open")
def test_what_a_filter_matches_is_cancelled_and_archived_together(
    up: Up, up_page: Page, new_context: NewContext
) -> None:
    found = up.client.get("/flow", params={"q": "Draft and review"}).json()["items"]
    (service,) = found
    fids = []
    for title in ("Bulky one", "Bulky two", "Kept apart"):
        answer = up.client.post(
            f"/services/{service['uid']}",
            data={"title": title, "audience": "all", "points": "x", "rounds": "3", "hours": "1"},
            follow_redirects=False,
        )
        assert answer.status_code == 303, answer.text
        fids.append(answer.headers["location"].rpartition("/")[2])
    *bulky, apart = fids

    page = up_page
    page.goto("/executions")
    search = page.get_by_role("searchbox", name="Search executions")
    search.fill("bulky")
    search.press("Enter")
    arrived(page, re.compile(r"[?&]q=bulky"))
    rows = page.locator("#list tbody tr[data-fid]")
    expect(rows).to_have_count(2, timeout=LIVE)
    expect(rows.locator(".chip.awaiting")).to_have_count(2, timeout=LIVE)
    shared = page.url
    every = page.get_by_role("checkbox", name="Select all on this page")
    every.check()
    expect(page.locator("#bulk-said")).to_have_text("2 selected")
    bar, dialog = page.locator("#bulk"), page.get_by_role("dialog")
    bar.get_by_role("button", name="Cancel").click()
    expect(dialog).to_contain_text("Cancel 2 executions?")
    dialog.get_by_role("button", name="Back").click()
    expect(bar.get_by_role("button", name="Cancel")).to_be_focused()
    assert {up.status(fid)["status"] for fid in bulky} == {"awaiting"}
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog.get_by_role("status")).to_have_text("2 cancelled.")
    dialog.get_by_role("button", name="Close").press("Enter")
    expect(every).to_be_focused()
    expect(rows.locator(".chip.cancelled")).to_have_count(2, timeout=LIVE)
    for fid in bulky:
        assert up.prefect_state(fid)["type"] == "CANCELLED"
    assert up.status(apart)["status"] != "error"

    every.check()
    bar.get_by_role("button", name="Run again").click()
    expect(dialog).to_contain_text("Run 2 executions again?")
    dialog.get_by_role("button", name="Run again").click()
    expect(dialog.get_by_role("status")).to_have_text("2 started again.")
    dialog.get_by_role("button", name="Close").click()
    expect(rows.locator(".chip.awaiting")).to_have_count(2, timeout=LIVE)
    expect(rows).to_have_count(4)
    again = {row.get_attribute("data-fid") for row in rows.all()} - set(bulky)
    for fid in again:
        assert fid is not None
        expect(page.locator(f"#e-{fid}")).to_contain_text("Bulky")
        assert up.client.post(f"/outputs/{fid}/cancel").is_success
        expect(page.locator(f"#e-{fid} .chip.cancelled")).to_be_visible(timeout=LIVE)

    # Somebody else has the same list by its address; what is archived goes out of it by itself.
    elsewhere = new_context(up).new_page()
    elsewhere.goto(shared)
    expect(elsewhere.locator("#list tbody tr[data-fid]")).to_have_count(4)
    every.check()
    bar.get_by_role("button", name="Archive").click()
    expect(dialog).to_contain_text("Archive 4 executions?")
    dialog.get_by_role("button", name="Archive").click()
    expect(dialog.get_by_role("status")).to_have_text("4 archived.")
    dialog.get_by_role("button", name="Close").click()
    for one in (page, elsewhere):
        expect(one.get_by_text("No execution matches this filter.")).to_be_visible()
    page.goto(f"/executions/{apart}")
    expect(page.locator("#summary h1")).to_have_text("Review: Kept apart")
    expect(status(page)).to_contain_text("awaiting", timeout=LIVE)
