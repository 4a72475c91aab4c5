"""Signing in and out by the page."""

from playwright.sync_api import expect

from tests.browser.conftest import NewContext
from tests.browser.looking import NAME, PASSWORD, Complaints
from tests.browser.steps import arrived
from tests.panel.panel_runs import Stand


def test_a_wrong_password_is_told_and_the_right_one_leads_where_one_wanted_to_go(
    new_context: NewContext, stand: Stand, complaints: Complaints
) -> None:
    complaints.expected.append("401")
    page = new_context(stand, signed_in=False).new_page()
    page.goto("/executions?status=error")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(NAME)
    page.keyboard.press("Tab")
    page.keyboard.type("not it")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("wrong")
    expect(page.get_by_label("Name")).to_have_value(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    arrived(page, f"{stand.url}/executions?status=error")
