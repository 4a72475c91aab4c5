"""A run that fails and is retried, watched live."""

from playwright.sync_api import Page, expect

from tests.panel.panel_runs import Stand, markdown


def test_errors_of_earlier_attempts_join_the_output_and_the_newest_stands_above_it(
    page: Page, stand: Stand
) -> None:
    run = stand.run().begin().say("result", markdown("first part"))
    page.goto(f"/executions/{run.fid}")
    expect(page.locator("#live")).to_have_text("Live")
    cards = page.locator("#output-list > li")
    expect(cards).to_have_count(1)
    run.say("error", "Traceback of one\nOSError: gone")
    run.attempt = 2
    run.status("running").say("result", markdown("second part"))
    expect(cards.filter(has_text="second part")).to_be_visible()
    expect(page.locator("#output-list > .divider")).to_have_text("Attempt 2")
    error = page.locator("#output-list > .card.error")
    expect(error).to_have_count(1)
    expect(error.locator("summary")).to_have_text("OSError: gone")
    run.fail("Traceback of two\nValueError: no")
    expect(page.locator("#result .message")).to_have_text("ValueError: no")
    expect(error).to_have_count(1)
    page.reload()
    expect(error).to_have_count(1)
    expect(page.locator("#result details")).to_contain_text("Traceback of two")
