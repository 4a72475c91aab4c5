"""The list of executions for people: bars, orders, saved views, rows of two heights, a phone."""

import re
from itertools import pairwise
from typing import Any
from uuid import uuid4

from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext
from tests.browser.looking import sideways
from tests.browser.steps import arrived
from tests.panel.panel_runs import Stand
from tests.spooler.recording import execute

PHONE = {"width": 360, "height": 760}


def drawn(page: Page) -> None:
    expect(page.locator("#overview")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#live")).to_have_text("Live")


def several(stand: Stand, **more: Any) -> str:
    """Three finished runs, one that failed and one that runs, an hour apart each; their tag."""
    tag = f"tag-{uuid4().hex[:8]}"
    runs = [stand.run(summary=f"run {n}", tags=[tag], **more).begin(number=n) for n in range(5)]
    for n, run in enumerate(runs):
        if n < 4:
            run.fail() if n == 3 else run.finish()
        began = f"now() - interval '{n + 1} h'"
        execute(
            stand.database,
            f"UPDATE kodosumi.execution SET started_at = {began}, ended_at = CASE WHEN ended_at "
            f"IS NOT NULL THEN {began} + interval '{n + 1} min' END WHERE fid = '{run.fid}'",
        )
    stand.close_runs()
    return tag


def test_bars_and_counts_filter_and_the_keyboard_walks_along_them(page: Page, stand: Stand) -> None:
    tag = several(stand)
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    expect(page.locator(".counts")).to_contain_text("5 executions")
    bars = page.locator(".bars a")
    expect(bars).to_have_count(5)
    assert [bar.get_attribute("tabindex") for bar in bars.all()] == ["-1"] * 4 + ["0"]
    bars.last.focus()
    page.keyboard.press("ArrowLeft")
    expect(bars.nth(3)).to_be_focused()
    expect(bars.nth(3)).to_have_attribute("aria-label", re.compile(r" to .*: 1 finished$"))
    page.keyboard.press("Enter")
    arrived(page, re.compile(rf"tag={tag}&from=.*&to="))
    expect(page.locator("#list tbody tr[data-fid]")).to_have_count(1)
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    page.locator(".counts").get_by_role("link", name="1 error").click()
    arrived(page, re.compile("status=error"))
    expect(page.locator("#list tbody tr[data-fid] .chip")).to_have_text("error")
    drawn(page)
    page.locator(".counts").get_by_role("link", name="1 error").click()  # again: no longer
    expect(page.locator("#list tbody tr[data-fid]")).to_have_count(5)


def test_what_changes_moves_nothing_above_the_list(page: Page, stand: Stand) -> None:
    tag = several(stand)
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    bar = page.locator(".bars a").last
    bar.focus()
    top = page.locator("#list").bounding_box()
    stand.run(summary="one more", tags=[tag]).begin()
    expect(page.locator(".counts")).to_contain_text("6 executions")
    assert page.locator("#list").bounding_box()["y"] == top["y"]  # type: ignore[index]
    expect(bar.or_(page.locator(".bars a:focus")).first).to_be_visible()
    assert page.evaluate("document.activeElement.closest('.bars') !== null")
    # Bars are drawn anew and are bars still, whatever else on the page counts seconds on.
    expect(page.locator(".bars a rect.finished").first).to_be_attached()
    page.wait_for_function("document.querySelectorAll('.bars a title').length >= 5")


def test_headings_sort_by_mouse_and_keyboard(page: Page, stand: Stand) -> None:
    tag = several(stand)
    page.goto(f"/executions?tag={tag}&status=finished")
    titles = page.locator("#list tbody td.name .line > a:first-child")
    assert titles.all_inner_texts() == ["run 0", "run 1", "run 2"]
    heading = page.get_by_role("columnheader", name="Duration")
    heading.get_by_role("link").press("Enter")
    arrived(page, re.compile("sort=-duration"))
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert titles.all_inner_texts() == ["run 2", "run 1", "run 0"]
    page.get_by_role("columnheader", name="Duration").get_by_role("link").click()
    arrived(page, re.compile("sort=duration"))
    assert titles.all_inner_texts() == ["run 0", "run 1", "run 2"]


def test_times_name_their_zone(new_context: NewContext, stand: Stand) -> None:
    tag = several(stand)
    page = new_context(stand, timezone_id="Asia/Tokyo").new_page()
    page.goto(f"/executions?tag={tag}")
    expect(page.get_by_role("columnheader", name="Started (GMT+9)")).to_be_visible()
    time = page.locator("#list tbody time").first
    expect(time).to_have_attribute("title", re.compile(r"GMT\+0900"))
    expect(time).to_have_text(re.compile(r"^(\d\d:\d\d:\d\d|[A-Z][a-z]{2} \d{1,2} \d\d:\d\d)$"))


def test_rows_become_comfortable_and_stay_so(page: Page, stand: Stand) -> None:
    tag = several(stand)
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    row = page.locator("#list tbody tr[data-fid]").first
    low = row.bounding_box()
    with page.expect_response(re.compile("rows=comfortable")):
        page.get_by_role("link", name="Comfortable rows").click()
    high = row.bounding_box()
    assert low and high and low["height"] < 45 < high["height"]
    page.reload()
    expect(page.get_by_role("link", name="One line a row")).to_be_visible()
    with page.expect_response(re.compile("rows=compact")):
        page.get_by_role("link", name="One line a row").click()


def test_further_tags_open_by_the_keyboard_and_stay_open_while_rows_change(
    page: Page, stand: Stand
) -> None:
    tag = f"tag-{uuid4().hex[:8]}"
    run = stand.run(summary="many tags", tags=[tag, *(f"further-{n}" for n in range(10))]).begin()
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    more = page.locator("details.rest summary")
    expect(more).to_have_text("+10")
    more.press("Enter")
    last = page.get_by_role("link", name="further-9")
    expect(last).to_be_visible()
    run.finish()
    expect(page.locator("#list tbody .chip")).to_have_text("finished")
    expect(last).to_be_visible()
    page.keyboard.press("Escape")
    expect(last).to_be_hidden()


def test_a_view_is_saved_chosen_and_deleted(page: Page, stand: Stand) -> None:
    tag = several(stand)
    page.goto(f"/executions?tag={tag}&status=error")
    page.get_by_text("Save this view").click()
    page.get_by_label("Name", exact=True).fill(f"Bad {tag}")
    page.get_by_role("button", name="Save", exact=True).click()
    arrived(page, re.compile(f"tag={tag}"))
    page.goto("/executions")
    page.get_by_role("link", name=f"Bad {tag}").click()
    arrived(page, re.compile(f"tag={tag}&status=error|status=error&tag={tag}"))
    expect(page.get_by_role("link", name=f"Bad {tag}")).to_have_attribute("aria-current", "true")
    expect(page.locator("#list tbody tr[data-fid]")).to_have_count(1)
    page.get_by_text("Save this view").click()
    page.get_by_role("button", name=f"Delete view Bad {tag}").click()
    expect(page.get_by_role("link", name=f"Bad {tag}")).to_have_count(0)


def test_everything_of_a_flow_that_runs_is_stopped_from_one_button(
    page: Page, stand: Stand
) -> None:
    tag = several(stand, flow_name=f"flow-{uuid4().hex[:8]}")
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    page.get_by_role("button", name="Cancel all 1 that run or wait").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Cancel 1 execution?")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/bulk" in one.url else None)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog.get_by_role("status")).to_contain_text("1 could not")  # there is no Prefect
    assert f"tag={tag}&status=starting&status=running&status=awaiting" in asked[0]
    dialog.get_by_role("button", name="Close").click()


def test_on_a_phone_filters_are_a_sheet_and_cards_show_all(
    new_context: NewContext, stand: Stand
) -> None:
    tag = several(stand)
    long = "a name that is much longer than any phone is wide, and is shown to its end"
    stand.run(summary=long, tags=[tag, "b", "c"], run_name="amber-fox").begin().fail()
    page = new_context(stand, viewport=PHONE, has_touch=True).new_page()
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    search = page.get_by_label("Search executions")
    expect(search).to_be_hidden()
    page.get_by_role("button", name="Filters (1)").click()
    expect(search).to_be_visible()
    page.get_by_label("Sorted by").select_option("name")
    arrived(page, re.compile("sort=name"))
    title = page.get_by_role("link", name=long)
    box = title.evaluate(
        "(e) => [e.scrollWidth <= e.clientWidth + 1, e.getBoundingClientRect().right]"
    )
    assert box[0] and box[1] <= PHONE["width"]
    expect(page.get_by_text("amber-fox")).to_be_visible()
    assert not sideways(page)
    page.get_by_role("button", name="Filters").click()
    page.keyboard.press("Escape")
    expect(search).to_be_hidden()


def test_filters_and_bars_work_without_scripts(new_context: NewContext, stand: Stand) -> None:
    tag = several(stand)
    page = new_context(stand, java_script_enabled=False).new_page()
    page.goto(f"/executions?tag={tag}")
    page.get_by_role("link", name="Show runs over time").click()
    expect(page.locator(".bars a")).to_have_count(5)
    page.get_by_role("combobox", name="Time").select_option("hour")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.locator("#list tbody tr[data-fid]")).to_have_count(0)


def test_a_row_without_room_cuts_the_name_of_an_input_before_its_value(
    page: Page, stand: Stand
) -> None:
    tag = f"tag-{uuid4().hex[:8]}"
    for customer in ("Acme Corporation", "Globex"):
        stand.run(summary="Report", tags=[tag]).begin(
            identification_number_of_the_customer=customer
        )
    page.goto(f"/executions?tag={tag}")
    drawn(page)
    cut = "(element) => element.scrollWidth > element.clientWidth"
    acme = page.locator(".input", has_text="Acme")
    assert acme.locator(".key").evaluate(cut)
    assert not acme.locator(".value").evaluate(cut)
    expect(acme).to_have_attribute("title", re.compile("^identification_number.*: Acme Corp"))


def test_all_filters_stand_in_one_line(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Deployed", flow_name="a-flow-of-a-rather-long-name").begin()
    name = "'a-deployment-of-a-rather-long-name'"
    execute(stand.database, f"UPDATE kodosumi.execution SET deployment_name = {name}")
    page.goto("/executions?status=error&status=running&status=awaiting&q=Deployed")
    drawn(page)
    expect(page.locator(f"#e-{run.fid}")).to_be_visible()
    expect(page.get_by_label("Deployment")).to_be_visible()
    fields = [field.bounding_box() for field in page.locator("#filters > *").all()]
    middles = [box["y"] + box["height"] / 2 for box in fields if box and box["width"]]
    assert len(middles) >= 9
    assert max(middles) - min(middles) < 4
    inside = page.locator("#filters :is(input:not([type]), input[type=search], summary, select)")
    edges = [box for field in inside.all() if (box := field.bounding_box())]
    for left, right in pairwise(edges):
        assert left["x"] + left["width"] + 4 < right["x"]
