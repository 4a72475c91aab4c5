"""The list of executions: filters in the address, live rows, pages, and bad addresses."""

import re
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from playwright.sync_api import Page, expect

from kodosumi_prefect.vocabulary import SESSION_COOKIE
from tests.browser.conftest import NewContext
from tests.browser.looking import Complaints
from tests.browser.steps import arrived
from tests.panel.panel_runs import Stand


def names(page: Page) -> list[str]:
    return page.locator("#list tbody td.name .line > a:first-child").all_inner_texts()


def test_a_shared_filter_shows_the_same_to_somebody_else_and_stays_live(
    page: Page, stand: Stand, new_context: NewContext
) -> None:
    tag = f"tag-{uuid4().hex[:8]}"
    for name in ("first", "second"):
        stand.run(summary=f"{name} of {tag}", flow_name="shared", tags=[tag]).begin()
    stand.run(summary=f"third of {tag}", flow_name="shared", tags=[tag]).begin().fail()
    stand.run(summary="of another tag", flow_name="shared").begin()
    page.goto("/executions")
    page.get_by_role("textbox", name="Tag").fill(tag)
    page.get_by_label("Search executions").fill("of")
    page.get_by_text("Status", exact=True).and_(page.locator("summary")).click()
    page.get_by_role("checkbox", name="running", exact=True).check()
    page.get_by_role("button", name="Filter").click()
    arrived(page, re.compile(f"tag={tag}"))
    expect(page.locator("#live")).to_have_text("Live")  # the new page's scripts are there
    page.get_by_role("combobox", name="Time").select_option("hour")
    arrived(page, re.compile("last=hour"))
    asked = parse_qs(urlsplit(page.url).query)
    assert asked == {"q": ["of"], "status": ["running"], "tag": [tag], "last": ["hour"]}
    rows = page.locator("#list tbody tr[data-fid]")
    expect(rows).to_have_count(2)
    assert names(page) == [f"second of {tag}", f"first of {tag}"]

    bob = stand.person(f"bob-{tag}", operator=True)
    context = new_context(stand, signed_in=False)
    context.add_cookies([{"name": SESSION_COOKIE, "value": bob.cookie, "url": stand.url}])
    other = context.new_page()
    other.goto(page.url)
    expect(other.locator("details.me summary")).to_contain_text(bob.name)
    assert names(other) == names(page)
    expect(other.get_by_role("textbox", name="Tag")).to_have_value(tag)
    other.reload()
    assert names(other) == names(page)

    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.loadedOnce = true")
    fourth = stand.run(summary=f"fourth of {tag}", flow_name="shared", tags=[tag]).begin()
    expect(rows).to_have_count(3)
    assert names(page) == [f"{word} of {tag}" for word in ("fourth", "second", "first")]
    fourth.finish()
    expect(rows).to_have_count(2)
    expect(other.locator("#list tbody tr[data-fid]")).to_have_count(2)
    assert names(other) == names(page) == [f"second of {tag}", f"first of {tag}"]
    assert page.evaluate("window.loadedOnce") is True


def test_what_is_new_is_told_and_moves_nothing_while_something_is_selected(
    page: Page, stand: Stand
) -> None:
    tag = f"tag-{uuid4().hex[:8]}"
    running = stand.run(summary=f"first of {tag}", tags=[tag]).begin()
    page.goto(f"/executions?tag={tag}")
    expect(page.locator("#live")).to_have_text("Live")
    chosen = page.get_by_role("checkbox", name=f"first of {tag}")
    chosen.check()
    for word in ("second", "third"):
        stand.run(summary=f"{word} of {tag}", tags=[tag]).begin()
    fresh = page.locator("#fresh a")
    expect(fresh).to_have_text("2 new")
    assert names(page) == [f"first of {tag}"]
    running.finish()
    expect(page.locator("#list tbody .chip")).to_have_text("finished")
    expect(chosen).to_be_checked()
    expect(page.locator("#bulk")).to_contain_text("1 selected")
    fresh.click()
    expect(page.locator("#list tbody tr[data-fid]")).to_have_count(3)
    assert names(page) == [f"{word} of {tag}" for word in ("third", "second", "first")]
    expect(page.locator("#fresh")).to_be_hidden()


def test_what_changed_while_something_was_selected_is_shown_once_nothing_is(
    page: Page, stand: Stand
) -> None:
    tag = f"tag-{uuid4().hex[:8]}"
    leaving = stand.run(summary=f"first of {tag}", tags=[tag]).begin()
    page.goto(f"/executions?tag={tag}&status=running")
    expect(page.locator("#live")).to_have_text("Live")
    chosen = page.get_by_role("checkbox", name=f"first of {tag}")
    chosen.check()
    leaving.finish()
    expect(page.locator("#list tbody tr.gone")).to_have_count(1)
    chosen.uncheck()
    expect(page.get_by_text("No execution matches this filter.")).to_be_visible()


def test_pages_lead_forth_and_back_and_a_selection_can_grow_to_all_that_match(
    page: Page, stand: Stand
) -> None:
    tag = f"tag-{uuid4().hex[:8]}"
    for number in range(30):
        stand.run(summary=f"run {number}", flow_name="many", tags=[tag]).begin().finish()
        stand.close_runs()
    page.goto(f"/executions?tag={tag}")
    newest = names(page)
    assert newest == [f"run {number}" for number in range(29, 4, -1)]
    page.get_by_role("link", name="Older").click()
    arrived(page, re.compile("before="))
    expect(page.locator("#list tbody tr[data-fid]")).to_have_count(5)
    assert names(page) == [f"run {number}" for number in range(4, -1, -1)]
    page.reload()
    assert names(page) == [f"run {number}" for number in range(4, -1, -1)]
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("#list tbody tr[data-fid]")).to_have_count(25)
    expect(page.locator("#live")).to_have_text("Live")
    assert names(page) == newest

    bar = page.locator("#bulk")
    expect(bar).to_be_hidden()
    page.get_by_role("checkbox", name="run 29", exact=True).check()
    expect(bar).to_contain_text("1 selected")
    page.get_by_role("checkbox", name="Select all on this page").check()
    expect(bar).to_contain_text("25 selected")
    bar.get_by_role("button", name="Select all that match").click()
    expect(bar).to_contain_text("All 30 that match selected")
    bar.get_by_role("button", name="Archive").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Archive 30 executions?")
    dialog.get_by_role("button", name="Back").click()
    expect(dialog).to_be_hidden()
    expect(bar).to_contain_text("All 30 that match selected")
    bar.get_by_role("button", name="Archive").click()
    dialog.get_by_role("button", name="Archive").click()
    expect(dialog).to_contain_text("30 archived.")
    dialog.get_by_role("button", name="Close").click()
    expect(bar).to_be_hidden()
    expect(page.get_by_text("No execution matches this filter.")).to_be_visible()


def test_a_filter_or_cursor_that_was_tampered_with_is_told_on_a_page(
    page: Page, complaints: Complaints
) -> None:
    complaints.expected.append("status of 404")
    gone = str(uuid4())
    for address, told in (
        ("?status=done", "status is 'done'"),
        ("?last=century", "last"),
        ("?from=yesterday", "from"),
        ("?before=abc", "before"),
        (f"?before={gone}", gone),
        (f"?before={gone}&after={gone}", "not both"),
        ("/not-a-fid", "not-a-fid"),
        (f"/{gone}", gone),
    ):
        answer = page.goto(f"/executions{address}")
        assert answer is not None
        assert answer.status in (404, 422), address
        expect(page.locator("main .failure")).to_contain_text(told)
        expect(page.locator("body")).not_to_contain_text("Traceback")
        expect(page.get_by_role("link", name="All executions")).to_be_visible()
