"""What people do on a running stack, from the services page to the result."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext
from tests.browser.looking import violations
from tests.browser.steps import LIVE, arrived, fid_of, focused, open_form, status, tab_to
from tests.e2e import running
from tests.e2e.running import Up
from tests.prefect_http import ask_prefect
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)

NO_FLAW: list[str] = []


@pytest.fixture(autouse=True)
def _services_are_there(up: Up) -> None:
    wait_for(lambda: len(up.client.get("/flow").json()["items"]) >= 2, 60, "two services")


def launch_review(page: Page, title: str) -> str:
    """Launch a review by its form; its fid."""
    open_form(page, "Draft and review")
    page.get_by_label("Title").fill(title)
    page.get_by_label("Points, one a line").fill("on Sunday\nfrom 6 to 8")
    page.get_by_role("button", name="Draft", exact=True).click()
    return fid_of(page)


@pytest.mark.usefixtures("nothing_left_open")
def test_a_review_is_launched_watched_asked_about_answered_and_run_again(
    up: Up, up_page: Page, new_context: NewContext
) -> None:
    page = up_page
    open_form(page, "Draft and review")
    page.get_by_label("Title").fill("Maintenance")
    points = page.get_by_label("Points, one a line")
    points.fill("   \n ")
    page.get_by_role("button", name="Draft", exact=True).click()
    expect(page.get_by_text("hold no text; write at least one")).to_be_visible()
    expect(points).to_have_attribute("aria-invalid", "true")
    expect(points).to_have_accessible_description(re.compile("hold no text"))
    expect(page.get_by_label("Title")).to_have_value("Maintenance")
    points.fill("on Sunday\nfrom 6 to 8")
    page.get_by_role("button", name="Draft", exact=True).click()

    # Its page shows what it does as it does it; nothing is loaded again from here on.
    fid = fid_of(page)
    page.evaluate("window.loadedOnce = true")
    expect(page.locator("#summary h1")).to_have_text("Review: Maintenance")
    expect(status(page)).to_contain_text("awaiting", timeout=LIVE)
    expect(page.locator("#panel-output")).to_contain_text("From 6 to 8")
    expect(page.locator("#progress")).to_contain_text("draft 1 waits for approval")
    expect(page.locator("#waiting-count")).to_have_text("1", timeout=20_000)
    expect(page).to_have_title(re.compile(r"^\(1\) "))
    deployment = page.get_by_role("link", name=re.compile("^Deployment .*in Prefect$"))
    flow_run = page.get_by_role("link", name="Flow run in Prefect", exact=True)
    api = up.environment["PREFECT_API_URL"]
    assert flow_run.get_attribute("href") == f"{api.removesuffix('/api')}/runs/flow-run/{fid}"
    assert "/deployments/deployment/" in str(deployment.get_attribute("href"))
    watching = page

    # Somebody answers it elsewhere, wrongly at first.
    page = new_context(up).new_page()
    page.goto("/waiting")
    card = page.get_by_role("article", name="approve")
    expect(card.get_by_role("link", name="Review: Maintenance")).to_be_visible()
    card.get_by_label("Decision").select_option("revise")
    card.get_by_role("button", name="Answer").click()
    expect(card).to_contain_text("are needed to revise the draft")
    expect(card.get_by_label("Decision")).to_have_value("revise")
    card.get_by_label("Comments").fill("+ bring cake")
    card.get_by_role("button", name="Answer").click()
    expect(page.get_by_text("is answered")).to_be_visible()
    # The second draft asks anew, and appears by itself.
    expect(card).to_contain_text("Draft 2 of 3", timeout=20_000)
    expect(card).to_contain_text("Bring cake")
    card.get_by_label("Decision").select_option("approve")
    card.get_by_role("button", name="Answer").click()

    page = watching
    expect(status(page)).to_contain_text("finished", timeout=LIVE)
    result = page.locator("#result")
    expect(result).to_contain_text("Approved as draft 2")
    expect(page.locator("#waiting-count")).to_have_text("", timeout=20_000)
    page.get_by_role("tab", name="Trace").click()
    expect(page.locator("#panel-trace")).to_contain_text("+ bring cake")
    assert page.evaluate("window.loadedOnce") is True
    assert violations(page) == NO_FLAW
    page.reload()
    expect(page.locator("#panel-trace")).to_contain_text("+ bring cake")
    assert "answered_by" in str(up.events(fid, kinds="lease")[-1]["source"])

    page.locator("#summary h1").click()
    page.keyboard.press("s")
    expect(page.get_by_label("Regularly")).to_be_visible()
    expect(page.get_by_label("Title")).to_have_value("Maintenance")
    page.go_back()
    arrived(page, re.compile(fid))
    page.locator("#summary h1").click()
    page.keyboard.press("r")
    expect(page.get_by_text("Filled in with the inputs of")).to_be_visible()
    expect(page.get_by_label("Title")).to_have_value("Maintenance")
    expect(page.get_by_label("Points, one a line")).to_have_value("on Sunday\nfrom 6 to 8")
    page.get_by_role("button", name="Draft", exact=True).click()
    expect(page).not_to_have_url(re.compile("/services/"))
    again = fid_of(page)
    assert again != fid
    page.locator(".kin", has_text="Rerun of").get_by_role("link", name=fid[:8]).click()
    arrived(page, re.compile(fid))
    expect(page.locator(".kin", has_text="Rerun as")).to_contain_text(again[:8])
    up.until(again, "awaiting", 90)  # so that what it asks is known of when the next test begins


@pytest.mark.usefixtures("nothing_left_open")
def test_a_waiting_run_is_cancelled_from_its_page(up: Up, up_page: Page) -> None:
    page = up_page
    fid = launch_review(page, "Never to be sent")
    expect(status(page)).to_contain_text("awaiting", timeout=LIVE)
    page.get_by_role("link", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Cancel this execution?")
    dialog.get_by_role("link", name="Back").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Cancel", exact=True).click()
    dialog.get_by_role("button", name="Cancel the execution").press("Enter")
    expect(status(page)).not_to_contain_text("awaiting", timeout=LIVE)
    expect(page.locator("#summary")).to_have_attribute("data-over", "", timeout=LIVE)
    expect(page.get_by_role("link", name="Cancel", exact=True)).to_have_count(0)
    assert focused(page)  # what had the focus is gone, what is around it has it
    assert up.prefect_state(fid)["type"] == "CANCELLED"
    assert up.status(fid)["status"] == "error"
    page.locator(".others > summary").click()
    page.get_by_role("link", name="Archive", exact=True).click()
    page.get_by_role("button", name="Archive it").click()
    arrived(page, re.compile(r"/executions($|\?)"))
    expect(page.get_by_role("link", name="Never to be sent")).to_have_count(0)


def test_a_form_is_saved_as_a_schedule_that_prefect_has_too(up: Up, up_page: Page) -> None:
    page = up_page
    open_form(page, "Draft and review")
    page.get_by_label("Title").fill("Every Monday")
    page.get_by_label("Points, one a line").fill("on Sunday")
    page.get_by_role("link", name="Schedule it").click()
    expect(page.get_by_label("Regularly")).to_be_focused()
    expect(page.locator("#moments")).to_contain_text("At 08:00, only on Monday")
    page.get_by_label("By cron").check()
    page.get_by_role("textbox", name="Cron").fill("0 7 * * 1")
    page.locator("#zone").fill("Europe/Berlin")
    preview = page.locator("#moments")
    expect(preview).to_contain_text("At 07:00, only on Monday")
    expect(preview.get_by_role("listitem")).to_have_count(5)
    expect(preview.get_by_role("listitem").first).to_contain_text(re.compile("^Mon .*07:00"))
    page.get_by_role("textbox", name="Cron").fill("0 7 * *")
    expect(preview.locator(".wrong")).to_be_visible()
    save = page.get_by_role("button", name="Save schedule")
    save.press("Enter")
    expect(page.locator("#schedule-trouble")).to_contain_text("0 7 * *")
    expect(save).to_be_focused()
    expect(page.get_by_label("Title")).to_have_value("Every Monday")
    page.get_by_role("textbox", name="Cron").fill("0 7 * * 1")
    expect(preview).to_contain_text("At 07:00, only on Monday")
    page.locator("#schedule-name").fill("Mondays")
    save.click()
    arrived(page, re.compile("/schedules"))
    notice = page.locator(".saved")
    expect(notice).to_contain_text("Mondays")
    expect(notice).to_contain_text("Next run")
    row = page.get_by_role("row").filter(has_text="Mondays")
    expect(row).to_contain_text("Europe/Berlin")

    def in_prefect() -> list[dict[str, Any]]:
        api = up.environment["PREFECT_API_URL"]
        found = ask_prefect(
            "POST", f"{api}/deployments/filter", auth=up.prefect_auth, json={}
        ).raise_for_status()
        every = [schedule for deployment in found.json() for schedule in deployment["schedules"]]
        return [one for one in every if one["schedule"].get("cron") == "0 7 * * 1"]

    (stored,) = in_prefect()
    assert stored["schedule"]["timezone"] == "Europe/Berlin"
    assert stored["active"] is True
    row.get_by_role("button", name="Pause Mondays").click()
    expect(row).to_contain_text("paused")
    assert in_prefect()[0]["active"] is False
    expect(row.get_by_role("button", name="Resume Mondays")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row.get_by_role("button", name="Pause Mondays")).to_be_visible()
    assert in_prefect()[0]["active"] is True
    assert violations(page) == NO_FLAW
    row.get_by_role("button", name="Delete Mondays").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Executions that it started are kept")
    page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    expect(row).to_have_count(0)
    focused(page)
    assert in_prefect() == []


@pytest.mark.usefixtures("nothing_left_open")
def test_the_keyboard_alone_is_enough(up: Up, new_context: NewContext) -> None:
    page = new_context(up, signed_in=False).new_page()
    page.goto("/services")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("admin")
    tab_to(page, "Password")
    page.keyboard.type(running.PASSWORD)
    page.keyboard.press("Enter")
    arrived(page, f"{up.panel}/services")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    tab_to(page, "Draft and review")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Run now")).to_be_visible()
    page.wait_for_load_state("load")
    tab_to(page, "Title")
    page.keyboard.type("By keyboard")
    tab_to(page, "Points")
    page.keyboard.type("   ")
    tab_to(page, "Draft")
    page.keyboard.press("Enter")
    expect(page.get_by_text("hold no text")).to_be_visible()
    assert focused(page)
    page.keyboard.press("Tab")
    assert focused(page)
    page.get_by_label("Points").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("on Sunday")
    tab_to(page, "Draft")
    page.keyboard.press("Enter")
    fid_of(page)
    expect(status(page)).to_contain_text("awaiting", timeout=LIVE)
    tab_to(page, "Output")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert focused(page) == "Log"
    arrived(page, re.compile("tab=log"))
    expect(page.locator("#panel-log")).to_be_visible()
    tab_to(page, "Search the whole log")
    page.goto("/waiting")
    expect(page.get_by_label("Decision").first).to_be_visible()
    tab_to(page, "Decision")
    tab_to(page, "Answer")
    page.keyboard.press("Enter")
    expect(page.get_by_text("is answered")).to_be_visible()
    expect(page.get_by_role("article").filter(has_text="is answered")).to_be_focused()
    assert "is answered" in focused(page)
    page.goto("/executions")
    tab_to(page, "Account admin")
    page.keyboard.press("Enter")
    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    arrived(page, re.compile("/login"))
