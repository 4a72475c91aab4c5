"""A run that fails and is retried, watched live."""

from uuid import uuid4

from playwright.sync_api import Page, expect

from kodosumi_prefect.events import serialize
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


def test_what_was_there_of_an_earlier_attempt_when_the_page_was_opened_gives_way(
    page: Page, stand: Stand
) -> None:
    run = stand.run(deployment_id=str(uuid4())).begin().say("result", markdown("first part"))
    page.goto(f"/executions/{run.fid}")
    expect(page.locator("#live")).to_have_text("Live")
    run.say("progress", serialize({"done": 9, "total": 10, "text": "nine of ten"}))
    expect(page.locator("#progress")).to_contain_text("nine of ten")
    page.reload()
    run.fail("Traceback of one\nOSError: gone")
    page.reload()
    expect(page.locator("#result .message")).to_have_text("OSError: gone")
    cards = page.locator("#output-list > li")
    expect(cards).to_have_count(1)
    page.get_by_role("link", name="Retry").click()
    dialog = page.get_by_role("dialog")
    page.route("**/retry", lambda route: route.fulfill(json={}))
    dialog.get_by_role("button", name="Retry the execution").click()
    expect(dialog).to_be_hidden()
    run.status("running", "AwaitingRetry")
    expect(page.locator("#result .message")).to_have_count(0)
    error = page.locator("#output-list > .card.error summary")
    expect(error).to_have_text("OSError: gone")
    expect(page.locator("#progress")).to_be_empty()
    run.attempt = 2
    run.status("running").say("result", markdown("second part"))
    expect(cards.filter(has_text="second part")).to_be_visible()
    expect(page.locator("#output-list > .divider")).to_have_text("Attempt 2")
    expect(error).to_have_count(1)


def test_progress_of_an_attempt_that_was_followed_goes_with_it(page: Page, stand: Stand) -> None:
    run = stand.run().begin()
    page.goto(f"/executions/{run.fid}")
    expect(page.locator("#live")).to_have_text("Live")
    with page.expect_response("**/head"):
        run.say("inputs", serialize({"a": 1}))
    run.say("progress", serialize({"done": 9, "total": 10, "text": "nine of ten"}))
    expect(page.locator("#progress")).to_contain_text("nine of ten")
    run.attempt = 2
    run.status("running")
    expect(page.locator("#progress")).to_be_empty()


def test_why_a_ticked_row_was_cancelled_is_told_without_a_reload(page: Page, stand: Stand) -> None:
    run = stand.run(summary="To be cancelled", tags=["why"]).begin()
    page.goto("/executions?tag=why")
    row = page.locator(f"#e-{run.fid}")
    row.get_by_role("checkbox").check()
    run.cancel()
    expect(row).to_contain_text("cancelled")
    expect(page.locator(f"#e-{run.fid} + .why")).to_have_text("Cancelled: by Ann")
    expect(row.get_by_role("checkbox")).to_be_checked()
