"""What a page does when its session is over, and what is said of executions one may not see."""

import re
from uuid import uuid4

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import NewContext
from tests.browser.looking import NAME, PASSWORD, Complaints, sign_in
from tests.browser.steps import arrived, open_form
from tests.e2e import running
from tests.e2e.running import Up
from tests.panel.panel_runs import Stand
from tests.panel.test_panel_waiting_page import asking
from tests.spooler.recording import execute
from tests.waiting import wait_for

ENDED = "Your session has ended. What you typed here is kept."


def sign_in_again(context: BrowserContext, page: Page, password: str) -> None:
    """Follow the link of the notice, and sign in in the tab that it opens."""
    with context.expect_page() as opened:
        page.locator("#notices").get_by_role("link", name=re.compile("Sign in again")).click()
    other = opened.value
    other.get_by_label("Name").fill(NAME)
    other.get_by_label("Password").fill(password)
    other.get_by_role("button", name="Sign in").click()
    arrived(other, re.compile("/account"))
    other.close()


def test_an_answer_that_is_typed_outlives_the_session(
    new_context: NewContext, stand: Stand, complaints: Complaints
) -> None:
    complaints.expected.append("401")
    run = asking(stand, "rate", summary="Rated later")
    context = new_context(stand)
    page = context.new_page()
    page.goto("/waiting")
    card = page.locator("article.lock", has_text="Rated later")
    card.get_by_label("stars").fill("4")
    card.get_by_label("why").fill("a long explanation")
    context.clear_cookies()
    card.get_by_role("button", name="Answer").click()
    expect(page.locator("#notices")).to_contain_text(ENDED)
    expect(card.get_by_label("why")).to_have_value("a long explanation")
    sign_in_again(context, page, PASSWORD)
    card.get_by_role("button", name="Answer").click()
    expect(page.get_by_text("is answered")).to_be_visible()
    expect(page.locator("#notices")).to_be_empty()
    run.close()


def test_a_form_that_is_filled_in_outlives_the_session(
    new_context: NewContext, up: Up, complaints: Complaints
) -> None:
    complaints.expected.append("401")
    wait_for(lambda: len(up.client.get("/flow").json()["items"]) >= 2, 60, "two services")
    context = new_context(up)
    page = context.new_page()
    open_form(page, "Draft and review")
    page.get_by_label("Title").fill("Typed before")
    page.get_by_label("Points, one a line").fill("  ")
    context.clear_cookies()
    page.get_by_role("button", name="Draft", exact=True).click()
    expect(page.locator("#notices")).to_contain_text(ENDED)
    expect(page.get_by_label("Title")).to_have_value("Typed before")
    sign_in_again(context, page, running.PASSWORD)
    page.get_by_role("button", name="Draft", exact=True).click()
    expect(page.get_by_text("hold no text; write at least one")).to_be_visible()
    expect(page.get_by_label("Title")).to_have_value("Typed before")


def test_a_live_page_tells_that_its_account_is_disabled(
    new_context: NewContext, stand: Stand, complaints: Complaints
) -> None:
    complaints.expected.append("401")
    name = f"mira-{uuid4().hex[:6]}"
    password = "a password of some length"
    made = stand.client.post("/role", json={"name": name, "password": password, "email": None})
    assert made.status_code == 201, made.text
    run = stand.run(owner=made.json()["id"], summary="Of one's own").begin()
    page = new_context(stand, signed_in=False).new_page()
    sign_in(page, stand.url, name, password)
    page.goto(f"/executions/{run.fid}")
    expect(page.locator("#live")).to_have_text("Live")
    execute(
        stand.database,
        f"UPDATE kodosumi.role SET active = false, epoch = epoch + 1 WHERE name = '{name}'",
    )
    run.status("error")  # brings the page to ask for its head
    expect(page.locator("#notices")).to_contain_text("Your session has ended", timeout=30_000)
    expect(page.get_by_role("heading", level=1)).to_have_text("Of one's own")


def test_executions_that_are_not_there_archived_or_of_somebody_else_say_so(
    new_context: NewContext, stand: Stand, complaints: Complaints
) -> None:
    complaints.expected += ["status of 404", "status of 410"]
    page = new_context(stand).new_page()
    for fid in (str(uuid4()), "no-fid"):
        page.goto(f"/executions/{fid}")
        expect(page.locator("main")).to_contain_text(re.compile("no execution|not|valid"))
        expect(page.get_by_role("link", name="Executions").first).to_be_visible()
    run = stand.run(summary="Laid aside").begin().finish()
    stand.client.delete(f"/outputs/{run.fid}").raise_for_status()
    page.goto(f"/executions/{run.fid}")
    expect(page.get_by_role("heading", level=1)).to_have_text("This execution is archived")
    page.get_by_role("link", name="Show it anyway").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Laid aside")
    name = f"nobody-{uuid4().hex[:6]}"
    password = "a password of some length"
    assert stand.client.post(
        "/role", json={"name": name, "password": password, "email": None}
    ).is_success
    other = new_context(stand, signed_in=False).new_page()
    sign_in(other, stand.url, name, password)
    other.goto(f"/executions/{run.fid}")
    expect(other.locator("main")).to_contain_text("there is no execution")
    expect(other.locator("main")).not_to_contain_text("Laid aside")


def test_a_page_that_is_left_does_not_blame_the_panel(page: Page) -> None:
    page.goto("/executions")
    # Read at once: the next answer of the panel takes the notice away.
    told = """document.dispatchEvent(new CustomEvent('htmx:sendError'));
        document.getElementById('notices').textContent"""
    assert page.evaluate(f"dispatchEvent(new Event('beforeunload')); {told}") == ""
    page.reload()
    assert "The panel does not answer" in page.evaluate(told)
