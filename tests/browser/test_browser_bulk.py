"""Doing something to more executions than a page of the list shows."""

import re

from playwright.sync_api import Page, Route, expect

from kodosumi_prefect.events import Kind
from kodosumi_prefect.files.record import StoredFile, payload_of
from tests.browser.looking import Complaints
from tests.browser.steps import arrived, focused
from tests.panel.panel_runs import Stand


def test_all_that_a_filter_matches_is_archived_over_pages_and_nothing_else(
    page: Page, stand: Stand
) -> None:
    for number in range(32):
        stand.run(summary=f"heap {number}", tags=["heap"]).begin().finish()
        stand.close_runs()
    apart = stand.run(summary="apart from the heap", tags=["other"]).begin().finish()
    page.goto("/executions")
    tag = page.get_by_role("textbox", name="Tag")
    tag.fill("heap")
    tag.press("Enter")
    arrived(page, re.compile("tag=heap"))
    bar, dialog = page.locator("#bulk"), page.get_by_role("dialog")
    page.get_by_role("checkbox", name="Select all on this page").check()
    expect(page.locator("#bulk-said")).to_have_text("25 selected")
    bar.get_by_role("button", name="Select all that match").press("Enter")
    expect(page.locator("#bulk-said")).to_have_text("All 32 that match selected")
    expect(bar.get_by_role("button", name="Cancel")).to_be_visible()
    assert focused(page) == "Clear"

    bar.get_by_role("button", name="Cancel").click()
    expect(dialog).to_contain_text("Cancel 32 executions?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog.get_by_role("status")).to_contain_text("0 cancelled, 32 could not")
    expect(dialog.get_by_role("status")).to_contain_text("32 of them: it has ended")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    page.get_by_role("checkbox", name="Select all on this page").check()
    # Who is faster than the count of all that match does not act on fewer.
    counts: list[Route] = []
    page.route("**/executions/count**", lambda route: counts.append(route))
    bar.get_by_role("button", name="Select all that match").click()
    expect(bar.get_by_role("button", name="Archive")).to_be_disabled()
    while not counts:
        page.wait_for_timeout(20)
    counts.pop().continue_()
    bar.get_by_role("button", name="Archive").click()
    expect(dialog).to_contain_text("Archive 32 executions?")
    dialog.get_by_role("button", name="Archive").click()
    expect(dialog.get_by_role("status")).to_have_text("32 archived.")
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_text("No execution matches this filter.")).to_be_visible()
    page.get_by_role("link", name="Show all").first.click()
    expect(page.get_by_role("link", name="apart from the heap")).to_be_visible()
    assert stand.json(f"/outputs/status/{apart.fid}")["status"] == "finished"


def test_what_is_run_again_is_asked_for_with_its_key_until_an_answer_comes(
    page: Page, stand: Stand, complaints: Complaints
) -> None:
    complaints.expected.append("ERR_CONNECTION_RESET")
    run = stand.run(summary="asked for again", tags=["again"]).begin()
    file = StoredFile("in/a.txt", f"objects/{run.fid}/a", 2000, "0" * 64, "text/plain")
    run.put(run.event(Kind.UPLOAD, payload_of([file])))
    run.finish()
    page.goto("/executions?tag=again")
    keys: list[str | None] = []
    with_files: list[bool] = []

    def lose_the_first(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        with_files.append(route.request.post_data_json["with_files"])
        if len(keys) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/executions/bulk**", lose_the_first)
    bar, dialog = page.locator("#bulk"), page.get_by_role("dialog")
    for asked in (2, 3):
        page.get_by_role("checkbox", name="Select all on this page").check()
        bar.get_by_role("button", name="Run again").click()
        files = dialog.get_by_role("checkbox", name="with the files that it was given: a.txt")
        expect(files).to_be_checked()
        files.set_checked(asked == 2)
        dialog.get_by_role("button", name="Run again").click()
        expect(dialog.get_by_role("status")).to_contain_text("1 could not")  # there is no Prefect
        assert len(keys) == asked
        dialog.get_by_role("button", name="Close").click()
    first, repeated, another = keys
    assert first and first == repeated != another
    assert with_files == [True, True, False]
